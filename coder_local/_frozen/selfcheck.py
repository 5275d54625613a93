"""`coder-local selfcheck`, of the one-folder build only: what a build can lack without failing is looked for here.

A module that nothing imports by its name, a file that is no module, a library that is not found: each would be noticed
by a person only. The build writes a list of what it was made from; this compares.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coder_local import __version__
from coder_local._contracts import docs
from coder_local._daemon.main import ServeOptions
from coder_local._registry import plugins
from coder_local._store import migrations

MANIFEST = "build.json"
_SOUND_SQLITE = (3, 51, 3)
_LIBRARIES = ("aiohttp", "cryptography.hazmat.primitives.ciphers.aead", "keyring", "psutil", "watchfiles", "yaml")


def main() -> int:
    """Print what is in the build as one JSON object, with its faults; return 1 if it has any, else 0."""
    folder = Path(__file__).parents[2]
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    faults = list(_faults(folder, manifest))
    report = {
        "version": __version__,
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "plugins": [plugin.name for plugin in plugins.bundled()],
        "warnings": list(_warnings()),
        "faults": faults,
    }
    print(json.dumps(report, indent=2))  # noqa: T201 - what it is for
    return 1 if faults else 0


def _faults(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    if manifest["version"] != __version__:
        yield f"it was built from {manifest['version']} and says that it is {__version__}"
    found = list(plugins.bundled())
    names = [plugin.name for plugin in found]
    if names != manifest["plugins"]:
        yield f"its plugins are {names}, and were {manifest['plugins']}"
    for plugin in found:
        if plugin.load() is None:
            yield f"{plugin.name} is not loaded: {plugin.reason}"
    files = [each for each in manifest["migrations"] if not (folder / each).is_file()]
    yield from (f"there is no {each}" for each in files)
    if not migrations.find_files(folder / "coder_local" / "_store" / "migrations"):
        yield "the core finds no migrations of its own"
    if not docs.of_fields(ServeOptions):
        yield "descriptions of fields cannot be read: the sources are missing"
    for name in (*_LIBRARIES, *manifest["standard_library"]):
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield f"{name} cannot be imported: {error}"


def _warnings() -> Iterator[str]:
    if sqlite3.sqlite_version_info < _SOUND_SQLITE:
        sound = ".".join(map(str, _SOUND_SQLITE))
        yield f"SQLite {sqlite3.sqlite_version} is the build machine's; {sound} or newer is meant for releases"
