"""Which tables a damaged file had: from itself, and where that part is lost from a file like it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coder_local._store.connection import open_reader

from .nodes import DamagedPage, values
from .trees import Tree


class Entry(NamedTuple):
    """One row of `sqlite_master`."""

    type: str
    name: str
    table: str
    root: int
    sql: str | None


class Schema(NamedTuple):
    """Tables, indexes and triggers in the order in which they were made."""

    entries: list[Entry]
    """Those that the file tells itself."""
    added: list[Entry]
    """Those that another file tells, with the root pages that they have there."""
    source: Path
    """Where they are from; the damaged file itself if all of its own can be read."""
    whole: bool
    """Whether they are all; if not, there were tables of which nothing tells."""


def read(master: Tree, source: Path, likes: Sequence[Path]) -> Schema:
    """Return the schema of a file; what cannot be read of it is taken from the first of `likes` that can be."""
    found: list[Entry] = []
    for row in sorted(master.rows(), key=lambda row: row.rowid or 0):
        try:
            parts = values(row.payload)
        except DamagedPage:
            master.lose_row(row.rowid)
            continue
        match parts:
            case [str(type_), str(name), str(table), int(root), str() | None as sql]:
                found.append(Entry(type_, name, table, root, sql))
            case _:
                master.lose_row(row.rowid)
    if not master.damaged and not master.lost:
        return Schema(found, [], source, whole=True)
    for like in likes:
        try:
            others = _of_whole(like)
        except sqlite3.Error:
            continue
        names = {entry.name for entry in found}
        added = [entry for entry in others if entry.name not in names]
        return Schema(found, added, like if added else source, whole=True)
    return Schema(found, [], source, whole=False)


def statements(likes: Sequence[Path]) -> dict[tuple[str, str], str]:
    """Return what makes each table, index and trigger, by type and name, from the first of some files that has it."""
    found: dict[tuple[str, str], str] = {}
    for like in likes:
        with contextlib.suppress(sqlite3.Error):
            found = {(each.type, each.name): each.sql for each in _of_whole(like) if each.sql} | found
    return found


def _of_whole(path: Path) -> list[Entry]:
    connection = open_reader(path)
    try:
        rows = connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY rowid")
        return [Entry(*row) for row in rows]
    finally:
        connection.close()
