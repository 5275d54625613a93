"""The program that runs: how it is started again, and the environment that other programs may have from it.

It imports next to nothing: each process of the one-folder build begins by it, the smallest ones too.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SEARCHED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH")
"""Variables in which a system's loader finds folders of libraries."""
_ORIGINALS = frozenset(f"{name}_ORIG" for name in _SEARCHED)
_BOOT = "_PYI_"
_BARE = ("-I", "-S", "-E", "-X", "utf8")
_INNER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {} import main; main()"
PLUGIN = "_plugin"
"""The word by which this program runs as the process of a plugin; no plugin can have such a name."""
INNER = "_inner"
"""The word by which the one-folder build runs a small program of its own files; no plugin can have such a name."""


def is_frozen() -> bool:
    """Tell whether this process runs from the one-folder build, where `sys.executable` is the program itself."""
    return bool(getattr(sys, "frozen", False))


def command(*arguments: str) -> list[str]:
    """Return the words that start this program again, with arguments behind them."""
    if is_frozen():
        return [sys.executable, *arguments]
    # -P: a folder `coder_local` in the current directory must not be run in the program's name
    return [sys.executable, "-P", "-m", "coder_local", *arguments]


def inner(folder: str, module: str) -> list[str]:
    """Return the words that call `main` of a module in a folder, in a process that loads as little as it can.

    From source it is the bare Python, without the packages that are installed. The one-folder build is no Python: it
    runs modules that are files of a plugin that comes with it, and no others.
    """
    if (own := _folder()) is not None:
        return [sys.executable, INNER, os.path.relpath(folder, own), module]
    return [sys.executable, *_BARE, "-c", _INNER.format(module), folder]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what the boot loader of the one-folder build put into it; from source a copy.

    The boot loader has its own process look for libraries in the build's folder first. A child that inherits this would
    load the build's OpenSSL and SQLite in place of its system's: git, a shell, another Python.
    """
    own = _folder()
    if own is None:
        return dict(environ)
    cleaned: dict[str, str] = {}
    for name, value in environ.items():
        if name in _ORIGINALS or name.startswith(_BOOT):
            continue
        if name in _SEARCHED:
            # by folder and not by the saved original: whoever set the variable since then meant it
            kept = [path for path in value.split(os.pathsep) if path.rstrip(os.sep) != own]
            if kept:
                cleaned[name] = os.pathsep.join(kept)
        else:
            cleaned[name] = value
    return cleaned


def _folder() -> str | None:
    """Return the folder of the one-folder build's files, None from source."""
    return str(getattr(sys, "_MEIPASS", "")) or None if is_frozen() else None
