"""Putting another file, or none, in a database's place: done whole, also when it is killed in the middle.

A database is up to three files, and no system moves three at once. So a mark beside it says first what is to be done,
and whoever takes the lock next does what is left of it: between two of the moves a start would take the database for
lost, and SQLite would delete a log that stood there alone.
"""

from __future__ import annotations

import os
from pathlib import Path


def exchange(database: Path, aside: Path, part: Path | None = None) -> None:
    """Move a closed database with its `-wal` and `-shm` into the folder `aside`, and `part`, beside it, into its place.

    Needs the lock. Raises `OSError`; what was begun by then is done by the next `complete`.
    """
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (aside / database.name).exists():
        raise FileExistsError(f"{aside} has a database already")
    mark = _mark(database)
    new = mark.with_name(f"{mark.name}.part")
    with new.open("w", encoding="utf-8") as file:
        # relative, for whoever moves the whole directory meanwhile
        file.write(f"{part.name if part else ''}\n{os.path.relpath(aside, database.parent)}")
        file.flush()
        os.fsync(file.fileno())
    new.replace(mark)
    _carry_out(database, aside, part)


def complete(database: Path) -> Path | None:
    """Do what an exchange that was cut off had left to do, and return where the old database is; None if none was.

    Costs one look for a file. Needs the lock. Raises `OSError`.
    """
    try:
        name, _, where = _mark(database).read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return None
    aside = database.parent / where
    _carry_out(database, aside, database.with_name(name) if name else None)
    return aside


def family(database: Path) -> list[Path]:
    """Return the files that belong to a database and exist."""
    return [path for suffix in ("", "-wal", "-shm") if (path := database.with_name(database.name + suffix)).exists()]


def _carry_out(database: Path, aside: Path, part: Path | None) -> None:
    done = part is not None and not part.exists()
    # A program that knew no mark may have begun a new one in the gap: nothing of that is lost for the old one.
    begun_anew = database.exists() and (aside / database.name).exists()
    if not (done or begun_anew):
        for file in family(database):
            file.rename(aside / file.name)
        if part is not None:
            part.replace(database)
    _mark(database).unlink(missing_ok=True)


def _mark(database: Path) -> Path:
    return database.with_name(f".{database.name}.replacing")
