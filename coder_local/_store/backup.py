"""Copies of the database: snapshots, backup, restore, and setting a damaged file aside.

Always by SQLite's backup API, never by copying the file: a copy without its write-ahead log is not the database.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from coder_local.api import Invalid, Locked

from . import keeping
from .connection import open_reader, open_unchanged
from .exchange import complete, exchange, family
from .keeping import Keep

SNAPSHOTS = 5
"""Snapshots of each kind but the daily ones that are kept; the oldest go first."""
BEFORE_MIGRATION, DAILY = "_before-migration", "_daily"
"""Kinds of snapshots that the daemon writes by itself; those written by hand, `-<name>`, never push one of them out."""

CopyProgress = Callable[[int, int, int], None]
"""Told after each piece of a copy: a status of SQLite, pages that are left, pages in all."""
_PIECE = 1024
"""Pages."""
_RUN = uuid.uuid4().hex[:8]
"""Tells the unfinished copies of this process from those of one that was killed."""


def copy(connection: sqlite3.Connection, target: Path, progress: CopyProgress | None = None) -> None:
    """Write a consistent copy of an open database to a new file (0600). Raises `Locked` if it cannot be written.

    With `progress` it goes on in pieces, and begins anew whenever somebody writes meanwhile; what `progress` raises
    ends it.
    """
    part = target.with_name(f".{target.name}.{_RUN}.{uuid.uuid4().hex}.part")
    try:
        part.touch(mode=0o600)
        copied = sqlite3.connect(part)
        try:
            connection.backup(copied, pages=-1 if progress is None else _PIECE, progress=progress)
            copied.execute("PRAGMA journal_mode = DELETE")
        finally:
            copied.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if not isinstance(error, OSError | sqlite3.Error):
            raise
        raise Locked(
            f"the copy could not be written to {target}: {error}", hint="free some space or choose another place"
        ) from error


def check(path: Path) -> list[str]:
    """Return what is wrong with a database file; nothing if it is whole."""
    try:
        connection = open_unchanged(path)
    except sqlite3.Error as error:
        return [str(error)]
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
        connection.execute("SELECT count(*) FROM store_meta").fetchone()
    except sqlite3.Error as error:
        return [str(error)]
    finally:
        connection.close()
    return [] if found == ["ok"] else found


def snapshot(
    connection: sqlite3.Connection,
    folder: Path,
    name: str,
    progress: CopyProgress | None = None,
    *,
    keep: Keep = keeping.DAILY,
) -> Path:
    """Write a snapshot into a folder, read it whole again, and let the oldest of its kind go.

    Raises `Locked` if there is not twice the room for it, or if it is not whole: then no other goes for it.
    """
    import shutil  # noqa: PLC0415 - 2 ms, and not at every start

    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    need = 2 * pages * connection.execute("PRAGMA page_size").fetchone()[0]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_parts(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Locked(f"no snapshot can be written: {error}", hint="make it a folder that can be written") from error
    if free < need:
        raise Locked(
            f"a snapshot needs {need // 2**20 + 1} MiB of free disk, and {free // 2**20} MiB are free",
            hint="free some space",
        )
    target = folder / f"{name}.db"
    copy(connection, target, progress)
    if faults := check(target):
        target.unlink()
        raise Locked(f"the snapshot is not whole: {faults[0]}", hint="the database may be damaged: coder-local doctor")
    keeping.note(target, ())
    # Never the one just written: after the clock was set back, its name is not the newest.
    same = [each for each in snapshots(folder) if each != target and _kind(each.stem) == _kind(name)]
    for old in keeping.over(same, keep) if _kind(name) == DAILY else same[SNAPSHOTS - 1 :]:
        old.unlink(missing_ok=True)
    return target


def _forget_parts(folder: Path) -> None:
    """Take away what a process that was killed had copied: the lock lets no other one write here now."""
    for part in folder.glob(".*.part*"):
        if f".{_RUN}." not in part.name:
            part.unlink(missing_ok=True)


def _kind(name: str) -> str:
    return next((kind for kind in (BEFORE_MIGRATION, DAILY) if name.endswith(kind)), "")


def snapshots(folder: Path) -> list[Path]:
    """Return the snapshots of a folder, newest first by their names, which begin with the time."""
    found = folder.glob("*.db") if folder.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)


def newest_before_migration(folder: Path) -> Path | None:
    """Return the newest of the snapshots that were written before a migration."""
    return next((path for path in snapshots(folder) if _kind(path.stem) == BEFORE_MIGRATION), None)


def tested(path: Path) -> list[str]:
    """Return what is wrong with a snapshot, as it was when it was last read whole; reads it if it has changed since."""
    known = keeping.noted(path)
    if known is None:
        known = check(path)
        keeping.note(path, known)
    return known


def newest_daily(folder: Path) -> Path | None:
    """Return the newest of the daily snapshots."""
    return next((path for path in snapshots(folder) if _kind(path.stem) == DAILY), None)


def newest_good(folder: Path) -> Path | None:
    """Return the newest snapshot that is whole."""
    return next((path for path in snapshots(folder) if not check(path)), None)


def set_aside(database: Path, folder: Path, name: str) -> Path:
    """Move a database file with its `-wal` and `-shm` into a folder of its own, and return that folder."""
    aside = folder / name
    exchange(database, aside)
    return aside


def restore(source: Path, database: Path, aside: Path, name: str) -> Path | None:
    """Put a copy of `source` in the place of a closed database; the old one is set aside. Gives the data a new epoch.

    Returns where the old one is, or None if there was none. Raises as `prepare` does.
    """
    complete(database)
    part = prepare(source, database)
    kept = aside / name
    if database.exists() and _copied(database, kept):
        part.replace(database)
    elif family(database):
        exchange(database, kept, part)
    else:
        part.replace(database)
        return None
    return kept


def prepare(source: Path, database: Path) -> Path:
    """Return a copy of `source` beside a database, to be moved into its place, with a new epoch; it stays untouched.

    Raises `Invalid` if `source` is no whole database of ours, `Locked` if there is no room.
    """
    if not source.is_file():
        raise Invalid(f"there is no file {source}", field="/path", hint="give the path of a backup or snapshot")
    if faults := check(source):
        raise Invalid(f"{source} is not a whole backup: {faults[0]}", field="/path", hint="choose another one")
    part = database.with_name(f".{database.name}.restore")
    part.unlink(missing_ok=True)
    opened = open_reader(source)
    try:
        copy(opened, part)
    finally:
        opened.close()
    copied = sqlite3.connect(part, isolation_level=None)
    # Cursors of the old file must not be served from this one: the same numbers may mean other events.
    copied.execute("UPDATE store_meta SET value = ? WHERE name = 'epoch'", (new_epoch(),))
    copied.close()
    return part


def _copied(database: Path, kept: Path) -> bool:
    """Keep a closed database in a folder of its own and leave it in place, so that no crash leaves none there.

    Its log is written into it first: beside another file, SQLite would replay it into that one. False for a damaged
    database, which has to be moved, log and all: SQLite would write the log over what can still be read of it.
    """
    if check(database):
        return False
    try:
        opened = sqlite3.connect(database)
        try:
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            opened.close()
    except sqlite3.Error:
        return False
    if len(family(database)) > 1:
        return False
    kept.mkdir(mode=0o700, parents=True)
    import shutil  # noqa: PLC0415 - see above

    shutil.copy2(database, kept / database.name)
    return True


def new_epoch() -> str:
    """Return a fresh epoch for the event log."""
    return uuid.uuid4().hex[:12]
