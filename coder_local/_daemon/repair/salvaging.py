"""A damaged database of a data directory: what can be read of it put in its place, with its lock held."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._store import backup
from coder_local._store.exchange import exchange
from coder_local._store.salvage import SalvageReport, salvage
from coder_local._store.salvage.report import FILE
from coder_local.api import Invalid, Locked

from .offline import DATABASE

QUARANTINE, REPLACED = "quarantine", "replaced"
_MARK = "damaged"


class Salvaged(NamedTuple):
    """What came of a salvage."""

    report: SalvageReport
    path: Path
    """Where the report is kept, beside the damaged file."""
    set_aside: Path | None
    """Folder with the database that was in use until now."""


def to_salvage(folder: Path, named: Path | None = None) -> Path:
    """Return the damaged database that is meant: the named file or folder, else the one in use, else the newest aside.

    Raises `Invalid` if there is none.
    """
    if named is not None:
        path = named / DATABASE if named.is_dir() else named
        if not path.is_file():
            raise Invalid(f"there is no file {path}", field="/path", hint="name a folder of quarantine/, or a database")
        return path
    current = folder / DATABASE
    if current.exists() and backup.check(current):
        return current
    aside = folder / QUARANTINE
    found = [path for each in aside.iterdir() if (path := each / DATABASE).is_file()] if aside.is_dir() else []
    if not found:
        raise Invalid("there is no damaged database: the one in use is whole, and quarantine/ has none", field="/path")
    return max(found, key=lambda path: path.parent.name)


def put_in_place(folder: Path, source: Path) -> Salvaged:
    """Make a database of what can be read of `source`, put it in place, and keep the report beside the damaged file.

    The database in use is set aside: in quarantine if it is the damaged one itself, else with what restores replaced.
    Needs the lock. Raises `Invalid` if nothing at all can be read, `Locked` if there is no room.
    """
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    try:
        work = Path(tempfile.mkdtemp(prefix=".salvage-", dir=folder))
    except OSError as error:
        raise Locked(f"nothing can be written in {folder}: {error}", hint="free some space, then try again") from error
    try:
        report = _read(folder, source, work)
        if not report.read and report.snapshot is None:
            raise Invalid(f"nothing can be read of {source}", hint="it may not be a database of this program at all")
        return _exchange(folder, source, work / DATABASE, name, report)
    except OSError as error:
        raise Locked(f"the salvage could not be written: {error}", hint="free some space, then try again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(folder: Path, source: Path, new: Path, name: str, report: SalvageReport) -> Salvaged:
    """Put the new database in place, after its report: a kill in between costs a line of audit, and no more."""
    database, kept = folder / DATABASE, folder / QUARANTINE / name
    aside: Path | None = kept
    if database.exists() and source.samefile(database):
        part = backup.prepare(new, database)  # before it is moved: on a full disk it stays in place
        path = _keep_report(report, [kept])
        exchange(database, kept, part)
    else:
        path = _keep_report(report, [source.parent, kept])
        aside = backup.restore(new, database, folder / REPLACED, name)
    (folder / _MARK).unlink(missing_ok=True)
    return Salvaged(report, path, aside)


def _keep_report(report: SalvageReport, places: Sequence[Path]) -> Path:
    """Write the report into the first of some folders that takes it; the damaged file may lie on a read-only disk."""
    content = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    for place in places[:-1]:
        with contextlib.suppress(OSError):
            (place / FILE).write_bytes(content)
            return place / FILE
    places[-1].mkdir(mode=0o700, parents=True, exist_ok=True)
    (places[-1] / FILE).write_bytes(content)
    return places[-1] / FILE


def _read(folder: Path, source: Path, work: Path) -> SalvageReport:
    try:
        return salvage(source, work / DATABASE, snapshot=backup.newest_good(folder / "snapshots"), like=_fresh(work))
    except sqlite3.Error as error:
        raise Invalid(
            f"nothing can be made of {source}: {error}", hint="restore a snapshot: coder-local restore"
        ) from error


def _fresh(work: Path) -> Path:
    """Make an empty database with the tables of this program, which tells them where the damaged file does not."""
    empty = work / "empty"
    empty.mkdir()
    kernel = Kernel(empty)
    kernel.load(plugins.bundled())
    kernel.open()
    kernel.store.close()
    return empty / DATABASE
