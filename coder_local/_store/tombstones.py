"""Records that were deleted long ago are taken away: until then they can be brought back, and are told to peers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from .clock import instant
from .scope import WriteScope
from .tables import Table

KEEP_DAYS = 90
"""Days that a deleted record is kept. History and the log of events keep what they know of it as long as ever."""
BATCH = 500
"""Records that one commit takes away: the writer must not be held."""


def due(connection: sqlite3.Connection, tables: Sequence[Table], now_ms: int) -> Iterator[Callable[[WriteScope], int]]:
    """Yield a command for each batch of records that were deleted over `KEEP_DAYS` days ago; reads each table whole."""
    before = instant(now_ms - KEEP_DAYS * 24 * 3600 * 1000)
    for table in tables:
        rows = connection.execute(f"SELECT id FROM {table.name} WHERE deleted_at < ?", (before,))  # noqa: S608
        while ids := [id for (id,) in rows.fetchmany(BATCH)]:
            yield _removal(table, ids, before)


def _removal(table: Table, ids: Sequence[str], before: str) -> Callable[[WriteScope], int]:
    def remove(scope: WriteScope) -> int:
        marks = ", ".join("?" * len(ids))
        # Asked again: one may have been brought back since.
        sql = f"DELETE FROM {table.name} WHERE id IN ({marks}) AND deleted_at < ?"  # noqa: S608 - declared names only
        return scope.connection.execute(sql, (*ids, before)).rowcount

    return remove
