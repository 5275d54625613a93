"""`backup` and `restore`: the database as one file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .app import Command
from .errors import Failure, NoDirectory, invalid
from .life import stop
from .session import ask

if TYPE_CHECKING:
    from argparse import Namespace

    from .parser import Parser
    from .session import Session

DATABASE = "coder-local.db"
SNAPSHOTS = "snapshots"
REPLACED = "replaced"
"""Folder of the data directory for what a restore replaced."""
_ABOUT_BACKUP = """\
The copy is consistent, and the daemon goes on working meanwhile. Restore it with `coder-local restore FILE`.
"""
_ABOUT_RESTORE = """\
Without FILE it lists the snapshots, with their age and whether they are whole.
The daemon is stopped, and started again if it ran. The database as it is now is set aside, and the answer says where.
Event cursors of before are answered with a reset.
"""


def _backup_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an older backup of that name")


def _restore_arguments(parser: Parser) -> None:
    what = "a backup, or the name of a snapshot; without it the snapshots are listed"
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help=what)


def _backup(session: Session, arguments: Namespace) -> int:
    # the daemon has a current directory of its own
    target = arguments.file.expanduser().absolute()
    given = {"path": str(target)} | ({"overwrite": True} if arguments.overwrite else {})
    session.output.answer(session.call("store.backup", given, safety="write"))
    return 0


def _restore(session: Session, arguments: Namespace) -> int:
    folder = session.settings.data_dir
    if arguments.file is None:
        session.output.answer(_snapshots(folder))
        return 0
    source = _named(folder, arguments.file)
    _check(source)
    question = f"The database in {folder} is replaced by {source}; the one of now is set aside."
    if not (session.settings.yes or ask(question)):
        raise Failure("needs_confirmation", "a restore replaces all that is kept", hint="give --yes to confirm")
    ran = stop(session)
    try:
        old = _replace(source, folder)
    finally:
        if ran:
            session.start()
    session.output.answer({"restored": str(source), "set_aside": str(old) if old else None, "started": ran})
    return 0


def _named(folder: Path, given: Path) -> Path:
    """Return the file that is meant: a path, or the name of a snapshot as the list has it."""
    path = given.expanduser().absolute()
    snapshot = folder / SNAPSHOTS / f"{given.name.removesuffix('.db')}.db"
    return snapshot if given.parent == Path() and not path.exists() and snapshot.is_file() else path


def _snapshots(folder: Path) -> dict[str, Any]:
    """Return the snapshots with their age and state; one that was not read whole yet is read now."""
    from coder_local._store import backup  # noqa: PLC0415 - loads sqlite3 and msgspec

    items: list[dict[str, Any]] = []
    now = datetime.now(UTC)
    for path in backup.snapshots(folder / SNAPSHOTS):
        faults, stat = backup.tested(path), path.stat()
        made = datetime.fromtimestamp(stat.st_mtime, UTC)
        items.append(
            {
                "name": path.stem,
                "made": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "age_hours": round((now - made).total_seconds() / 3600, 1),
                "bytes": stat.st_size,
                "state": f"damaged: {faults[0]}" if faults else "whole",
            }
        )
    return {"items": items}


def _check(source: Path) -> None:
    """Raise `Failure` if the file is no whole backup, before anything is stopped for it."""
    from coder_local._store import backup  # noqa: PLC0415 - loads sqlite3 and msgspec

    if not source.is_file():
        raise invalid(f"there is no file {source}", field="/path", hint="give the path of a backup or snapshot")
    if faults := backup.check(source):
        raise invalid(f"{source} is not a whole backup: {faults[0]}", field="/path", hint="choose another one")


def _replace(source: Path, folder: Path) -> Path | None:
    """Put the backup in the database's place, with the daemon's lock held, and return where the old one is."""
    from coder_local._daemon.lock import Lock  # noqa: PLC0415 - for this command only
    from coder_local._store import backup  # noqa: PLC0415 - see above
    from coder_local.api import Error  # noqa: PLC0415 - see above

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(folder)
        taken = lock.take()
    except OSError as fault:
        raise NoDirectory(folder, fault) from fault
    if not taken:
        raise Failure("locked", f"another process holds {folder}", hint="it may be starting or stopping; try again")
    try:
        (folder / REPLACED).mkdir(mode=0o700, exist_ok=True)
        name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
        return backup.restore(source, folder / DATABASE, folder / REPLACED, name)
    except Error as error:
        raise Failure(error.kind, error.message, field=error.field, hint=error.hint) from error
    except OSError as fault:
        raise Failure(
            "locked", f"the database cannot be replaced: {fault}", hint=f"the old one is in place, or in {REPLACED}/"
        ) from fault
    finally:
        lock.release()


COMMANDS = {
    "backup": Command(_backup_arguments, _backup, _ABOUT_BACKUP),
    "restore": Command(_restore_arguments, _restore, _ABOUT_RESTORE),
}
