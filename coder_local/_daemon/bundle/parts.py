"""The files of a bundle. Each part is read by itself: one that cannot be had says so, and the others are there."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from coder_ipc import runtime
from coder_local import __version__
from coder_local._daemon import boot, mount

from . import database, logs
from .redact import Redactor, own_words

_WORD = re.compile(r"[a-z][a-z0-9_]{0,60}")
_LEVELS = frozenset({"debug", "info", "warning", "error"})
_OWN_CHECKS = frozenset(
    {
        "audit", "clock", "database", "disk", "keyring", "leftovers", "log", "mount", "permissions", "python",
        "quarantine", "references", "snapshots", "sqlite", "tables",
    }
)  # fmt: skip
"""Checks whose messages are our own to the last word, but for the names of files."""
_NOT_CHECKED = "it cannot be checked: "
_KNOWN_FILES = re.compile(
    r"(coder-local\.db(-wal|-shm)?|daemon\.(lock|sock)|runtime\.json|settings\.toml|damaged|snapshots|quarantine"
    r"|replaced|plugins|logs|starts\.json)"
)


def collect(
    folder: Path, checks: Sequence[Mapping[str, Any]], plugins: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the files of a bundle by name. `checks` are the doctor's findings, `plugins` what `plugins.list` says."""
    redactor = Redactor(_secrets(folder), folder=folder)
    names = _names(folder)
    parts: dict[str, Callable[[], Any]] = {
        "about.json": lambda: about(folder),
        "boot.json": lambda: [{**each.about, "stages": each.stages, "code": each.code} for each in boot.read(folder)],
        "database.json": lambda: database.facts(folder / "coder-local.db"),
        "doctor.json": lambda: [_check(each, names) for each in checks],
        "files.json": lambda: files(folder),
        "log.json": lambda: list(logs.lines(folder)),
        "plugins.json": lambda: [_plugin(each) for each in plugins],
        "runtime.json": lambda: _runtime(folder),
        "settings.json": lambda: settings(folder),
    }
    return {name: _encoded(read, redactor) for name, read in parts.items()}


def _encoded(read: Callable[[], Any], redactor: Redactor) -> bytes:
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - the bundle is for a machine on which things are broken
        value = {"cannot_be_read": type(error).__name__}
    return msgspec.json.format(msgspec.json.encode(redactor.value(value)), indent=1) + b"\n"


def _secrets(folder: Path) -> list[str]:
    """Return the secrets that are known by their place: whatever else goes wrong, they do not go out."""
    found: list[str] = []
    try:
        running = runtime.read(folder)
    except Exception:  # noqa: BLE001 - it cannot be read, so nothing of it goes out either
        running = None
    if running is not None:
        found.append(running.token)
    return found + [value for name, value in os.environ.items() if re.search(r"(?i)token|secret|passw|key", name)]


def about(folder: Path) -> dict[str, Any]:
    """Return what the programs and the machine are."""
    where = mount.kind(folder)
    disk = os.statvfs(folder) if hasattr(os, "statvfs") else None
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
        "python": sys.version.split(" ", 1)[0],
        "implementation": platform.python_implementation(),
        "frozen": bool(getattr(sys, "frozen", False)),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "sqlite_options": _sqlite_options(),
        "file_system": {"type": where.type, "network": where.network, "read_only": where.read_only},
        "free_bytes": None if disk is None else disk.f_bavail * disk.f_frsize,
        "socket_path_bytes": len(runtime.socket_path(folder)),
        "variables_set": sorted(name for name in os.environ if name.startswith("CODER_LOCAL_")),
    }


def _sqlite_options() -> list[str]:
    connection = sqlite3.connect(":memory:")
    try:
        return [row[0] for row in connection.execute("PRAGMA compile_options")]
    finally:
        connection.close()


def _names(folder: Path) -> dict[str, str]:
    """Return what stands for names that somebody else chose, where a check may say them; the longest first."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found[mount.kind(folder).place] = "<mount>"
    for place in (folder, *(folder / name for name in ("snapshots", "quarantine", "plugins"))):
        for path in _below(place, deep=place.name == "plugins"):
            if not _KNOWN_FILES.fullmatch(path.name):
                found[str(path)] = f"{place}/<name>"
                if place.name != "plugins":  # of these the whole path is said, and their names may be any word
                    found |= {path.name: "<name>", path.stem: "<name>"}
    return {name: found[name] for name in sorted(found, key=len, reverse=True) if len(name) > 1}


def _below(place: Path, *, deep: bool) -> list[Path]:
    try:
        return list(place.rglob("*") if deep else place.iterdir())
    except OSError:
        return []


def _check(check: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    message = str(check["message"])
    if check["check"] not in _OWN_CHECKS or message.startswith(_NOT_CHECKED):
        message = own_words(message)
    for name, word in names.items():
        message = word.join(re.split(rf"(?<!\w){re.escape(name)}(?!\w)", message))
    return {"check": check["check"], "state": check["state"], "message": message}


def _plugin(plugin: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: plugin.get(name) for name in ("name", "version", "status", "source", "import_ms", "start_ms")}
    return kept | {"reason": own_words(str(plugin.get("reason") or ""))}


def files(folder: Path) -> list[dict[str, Any]]:
    """Return what is in the data directory, summed up by its first level; names that anybody may choose stay out."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        held = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
        named = _KNOWN_FILES.fullmatch(path.name) or (path.is_dir() and _WORD.fullmatch(path.name))
        status = path.lstat()
        found.append(
            {
                "name": path.name if named else "<other>",
                "mode": f"{stat.S_IMODE(status.st_mode):o}",
                "own": not hasattr(os, "getuid") or status.st_uid == os.getuid(),
                "files": len(held),
                "bytes": sum(each.lstat().st_size for each in held),
                "age_seconds": round(time.time() - status.st_mtime),
            }
        )
    return found


def _runtime(folder: Path) -> Any:
    found = runtime.read(folder)
    if found is None:
        return None
    return {
        "protocol": found.protocol,
        "version": found.version,
        "incarnation": found.incarnation,
        "pid": found.pid,
        "process_started_at": found.process_started_at,
        "http": found.http is not None,
    }


def settings(folder: Path) -> dict[str, Any]:
    """Return which settings are set where, with values that are numbers or yes and no; of texts, the length."""
    try:
        written: Any = _shape(tomllib.loads((folder / "settings.toml").read_text("utf-8")))
    except FileNotFoundError:
        written = None
    except (OSError, ValueError) as error:
        written = f"<{type(error).__name__}>"
    return {"file": written, "stored": _stored(folder / "coder-local.db")}


def _stored(path: Path) -> Any:
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            rows = connection.execute("SELECT plugin, name, value FROM setting ORDER BY plugin, name").fetchall()
        finally:
            connection.close()
        return [[plugin, name, _shape(msgspec.json.decode(value))] for plugin, name, value in rows]
    except (sqlite3.Error, msgspec.DecodeError) as error:
        return f"<{type(error).__name__}>"


def _shape(value: object) -> Any:
    """Return a value without its texts."""
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {key if isinstance(key, str) and _WORD.fullmatch(key) else "<name>": _shape(each) for key, each in items}
    if isinstance(value, list):
        return [_shape(each) for each in cast("list[object]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if text in _LEVELS else f"<{len(text)} characters>"
