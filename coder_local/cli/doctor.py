"""`doctor`: what is wrong with this installation and its data, each with the cure."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from coder_ipc import runtime
from coder_ipc.errors import ConnectionLost, IpcError, NotRunning

from . import stopped
from .app import Command
from .backup import DATABASE
from .errors import DIRECTORY_HINT
from .output import width
from .tables import clean

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from coder_ipc.client import Client

    from .parser import Parser
    from .session import Session

FAILED = 1
"""Exit code when something is wrong; a warning is not."""
_OLDEST_PYTHON = (3, 11)
_SAFE_SQLITE = (3, 51, 3)
_LITTLE_DISK = 1024**3
_NO_DISK = 64 * 1024**2


class Check(NamedTuple):
    """One thing that was looked at, as `daemon.doctor` says it."""

    check: str
    state: str
    """`ok`, `warning` or `error`."""
    message: str
    hint: str | None = None


def _doctor(session: Session, _: Namespace) -> int:
    checks = list(_checks(session))
    failed = any(check.state == "error" for check in checks)
    if session.output.as_json:
        session.output.json({"healthy": not failed, "items": [check._asdict() for check in checks]})
    else:
        room = width()
        session.output.text("\n".join(_line(check, room) for check in checks))
    return FAILED if failed else 0


def _line(check: Check, room: int) -> str:
    """Return a check with its cure below it, broken at the terminal's width."""
    first = f"{check.state:<9}{check.check:<13}"
    indent = " " * len(first)
    texts = [clean(check.message), *([clean(check.hint)] if check.hint else [])]
    wrapped = [textwrap.fill(text, max(room, 40), initial_indent=indent, subsequent_indent=indent) for text in texts]
    return first + "\n".join(wrapped)[len(first) :]


def _checks(session: Session) -> Iterator[Check]:
    folder = session.settings.data_dir
    yield python()
    yield sqlite()
    try:
        client = session.attach()
    except (NotRunning, ConnectionLost):  # lost: it was just ending
        if fault := unusable(folder):
            yield Check("directory", "error", f"{folder} cannot be used: {fault}", DIRECTORY_HINT)
            return
        yield stale(folder)
        yield from permissions(folder)
        yield disk(folder)
        yield from database(folder)
    except IpcError as error:
        yield Check("daemon", "error", error.message, error.hint or "look into its log")
    else:
        yield Check("daemon", "ok", f"running, version {client.hello.get('version')}, pid {client.hello.get('pid')}")
        yield from _asked(client, session.settings.timeout)


def python() -> Check:
    """Check the version of Python."""
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", "error", f"version {version}", "coder-local needs 3.11 or newer")
    return Check("python", "ok", f"version {version}, {sys.platform}")


def sqlite() -> Check:
    """Check the version of SQLite."""
    import sqlite3  # noqa: PLC0415 - 8 ms that no other command spends

    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _SAFE_SQLITE:
        return Check(
            "sqlite",
            "warning",
            f"version {version} can damage a database that two connections write or checkpoint at once",
            "safe here: only the daemon's one writer does either, and a lock keeps other daemons out; "
            "do not write to the file with other programs. 3.51.3 and newer are without the fault",
        )
    return Check("sqlite", "ok", f"version {version}")


def unusable(folder: Path) -> str:
    """Return why the data directory could not be made or written; empty when it could."""
    import tempfile  # noqa: PLC0415 - for this check only

    try:
        place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not place.is_dir():
            return f"{place} is no folder"
        # the access bits do not tell: root may write where no file can be made, in /proc for one
        tempfile.TemporaryDirectory(dir=place, prefix=".doctor-").cleanup()
        list(place.iterdir() if place == folder else ())
    except OSError as fault:
        return f"in {fault.filename or folder}: {fault.strerror or fault}"
    return ""


def permissions(folder: Path) -> Iterator[Check]:
    """Check who may look into the data directory and the file that holds the token."""
    if not folder.is_dir():
        yield Check("permissions", "ok", f"{folder} is not there yet; the first start makes it")
        return
    if sys.platform == "win32":
        yield Check("permissions", "ok", f"{folder}, guarded by the access list of the user's profile")
        return
    secret = [path for path in (folder, folder / runtime.RUNTIME_FILE) if path.exists()]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in secret}
    wrong = {path: mode for path, mode in modes.items() if mode & 0o077}
    for path, mode in wrong.items():
        cure = f"chmod {'700' if path == folder else '600'} '{path}'"
        yield Check("permissions", "error", f"{path} has mode {mode:o}: other users can look in", cure)
    if not wrong:
        yield Check("permissions", "ok", f"{folder}, for its owner only")


def disk(folder: Path) -> Check:
    """Check the free disk: a migration needs room for a snapshot of the database."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    database = folder / DATABASE
    need = 2 * database.stat().st_size if database.exists() else 0
    message = f"{free / 1024**3:.1f} GiB free"
    if free < _NO_DISK:
        return Check(
            "disk", "error", message, "free some space; commands are refused when it is full, and nothing is lost"
        )
    if free < max(_LITTLE_DISK, need):
        return Check("disk", "warning", message, f"a snapshot before a migration needs {need / 1024**2:.0f} MiB")
    return Check("disk", "ok", message)


def stale(folder: Path) -> Check:
    """Check what a daemon that was killed left behind."""
    found = runtime.read(folder)
    left = [path.name for path in (folder / runtime.RUNTIME_FILE, folder / "daemon.sock") if path.exists()]
    if not left:
        return Check("daemon", "ok", "not running")
    whose = f" of a daemon (pid {found.pid}) that has ended" if found else ""
    return Check(
        "daemon",
        "warning",
        f"not running; {', '.join(left)}{whose} left behind",
        "harmless: the next start replaces it",
    )


def database(folder: Path) -> Iterator[Check]:
    """Check the database without a daemon, holding its lock so that none starts meanwhile."""
    path = folder / DATABASE
    if not path.exists():
        yield Check("database", "ok", "none yet")
        return
    from coder_local._daemon.lock import Lock  # noqa: PLC0415 - only when no daemon answers
    from coder_local._store import backup  # noqa: PLC0415 - only when no daemon answers

    lock = Lock(folder)
    try:
        if not lock.take():
            yield Check(
                "database", "error", "a process holds the lock and does not answer", "it may be starting; try again"
            )
            return
        faults = backup.check(path)
    except OSError as fault:
        yield Check(
            "database", "error", f"it cannot be looked at: {fault}", "check the permissions of the data directory"
        )
        return
    finally:
        lock.release()
    if faults:
        hint = "the next start sets it aside; then `coder-local restore` the newest file of snapshots/"
        yield Check("database", "error", "; ".join(faults[:3]), hint)
    else:
        yield Check("database", "ok", f"{path.stat().st_size / 1024**2:.1f} MiB, whole")


def _asked(client: Client, timeout: float | None) -> Iterator[Check]:
    """Yield what the daemon says about itself."""
    plugins = {str(plugin["name"]): plugin for plugin in stopped.known(client)}
    for item in cast("list[dict[str, Any]]", client.call("daemon.doctor", {}, timeout)["items"]):
        hint = item.get("hint") or None
        named = str(item["message"]).partition(" ")[0]
        if item["check"] == "plugins" and item["state"] != "ok" and named in plugins:
            hint = hint or stopped.cure(plugins[named])
        yield Check(item["check"], item["state"], item["message"], hint)


def _nothing(_: Parser) -> None:
    """Take no arguments."""


COMMANDS = {"doctor": Command(_nothing, _doctor, "Exits with 1 when something is wrong.")}
