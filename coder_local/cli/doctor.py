"""`doctor`: what is wrong with this installation and its data, each with the cure."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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
    fix: str = ""
    """What `--fix` would do about it."""


def _arguments(parser: Parser) -> None:
    parser.add_argument("--fix", action="store_true", help="ask what to mend, mend it, and look again; --yes for all")
    parser.add_argument("--boot", action="store_true", help="show the last starts of the daemon, stage by stage")


def _doctor(session: Session, arguments: Namespace) -> int:
    if arguments.boot:
        from .booting import show  # noqa: PLC0415 - for this option only

        return show(session)
    if not arguments.fix:
        return _tell(session, list(checks(session)))
    from .fixing import fix  # noqa: PLC0415 - for this option only

    fixed, left = fix(session, lambda: list(checks(session)))
    if not session.output.as_json:
        lines = [f"{'fixed' if each.done else 'not fixed':<10}{each.check}: {each.said}" for each in fixed]
        session.output.text("\n".join([*(clean(line) for line in lines), ""] if lines else ["nothing was mended", ""]))
    return _tell(session, left, fixed=[each._asdict() for each in fixed])


def _tell(session: Session, found: list[Check], **more: Any) -> int:
    """Print the checks and return the exit code."""
    failed = any(check.state == "error" for check in found)
    if session.output.as_json:
        session.output.json({"healthy": not failed, "items": [check._asdict() for check in found], **more})
        return FAILED if failed else 0
    room = width()
    lines = [_line(check, room) for check in found]
    if not more and (fixable := sum(bool(check.fix) for check in found)):
        lines += ["", f"coder-local doctor --fix mends {fixable} of these"]
    session.output.text("\n".join(lines))
    return FAILED if failed else 0


def _line(check: Check, room: int) -> str:
    """Return a check with its cure below it, broken at the terminal's width."""
    first = f"{check.state:<9}{check.check:<13}"
    indent = " " * len(first)
    texts = [clean(check.message), *([clean(check.hint)] if check.hint else [])]
    wrapped = [textwrap.fill(text, max(room, 40), initial_indent=indent, subsequent_indent=indent) for text in texts]
    return first + "\n".join(wrapped)[len(first) :]


def checks(session: Session) -> Iterator[Check]:
    """Yield all findings: those of the daemon where one answers, else of what is on disk."""
    folder = session.settings.data_dir
    yield python()
    yield sqlite()
    try:
        client = session.attach()
    except (NotRunning, ConnectionLost):  # lost: it was just ending
        if fault := unusable(folder):
            yield Check("directory", "error", f"{folder} cannot be used: {fault}", DIRECTORY_HINT)
            return
        yield disk(folder)
        yield from offline(folder)
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


def offline(folder: Path) -> Iterator[Check]:
    """Look at a data directory without a daemon, holding its lock so that none starts meanwhile."""
    if not folder.is_dir():
        yield Check("permissions", "ok", f"{folder} is not there yet; the first start makes it")
        return
    from coder_local._daemon.repair.offline import Held  # noqa: PLC0415 - only when no daemon answers
    from coder_local.api import Error  # noqa: PLC0415 - see above

    try:
        with Held(folder) as held:
            found = [each.finding for each in held.look()]
    except Error as error:
        yield Check("daemon", "error", error.message, error.hint)
        return
    except OSError as fault:
        yield Check("directory", "error", f"{folder} cannot be used: {fault}", DIRECTORY_HINT)
        return
    for item in found:
        message = "not running" if item.check == "daemon" and item.state == "ok" else item.message
        yield Check(item.check, item.state, message, item.hint or None, item.fix)


def _asked(client: Client, timeout: float | None) -> Iterator[Check]:
    """Yield what the daemon says about itself."""
    plugins = {str(plugin["name"]): plugin for plugin in stopped.known(client, timeout)}
    for item in cast("list[dict[str, Any]]", client.call("daemon.doctor", {}, timeout)["items"]):
        hint = item.get("hint") or None
        named = str(item["message"]).partition(" ")[0]
        if item["check"] == "plugins" and item["state"] != "ok" and named in plugins:
            hint = hint or stopped.cure(plugins[named])
        yield Check(item["check"], item["state"], item["message"], hint, item.get("fix", ""))


COMMANDS = {"doctor": Command(_arguments, _doctor, "Exits with 1 when something is wrong.")}
