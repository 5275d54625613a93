"""What a plugin's SQL may do: read its own tables, and nothing else."""

from __future__ import annotations

import sqlite3

OVERLAY = "__own"
"""Ending of the temporary table that holds what a transaction has written of a table."""
GONE = "__own_gone"
"""The same of what it took away for good."""
_FREE = frozenset({"json_each", "json_tree"})
_PASSED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})


class Authorizer:
    """SQLite asks it for each thing that a statement does, when the statement is compiled."""

    def __init__(self, tables: frozenset[str]) -> None:
        self.off = False
        """Set while the store's own statements run, which make and fill temporary tables."""
        self._readable = tables | {table + end for table in tables for end in (OVERLAY, GONE)} | _FREE

    def __call__(self, action: int, one: str | None, two: str | None, _base: str | None, _by: str | None) -> int:
        if self.off or action in _PASSED:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and one in self._readable:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and two != "load_extension":
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


def watch(connection: sqlite3.Connection, authorizer: Authorizer) -> None:
    """Have a connection ask from now on."""
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")  # their first use makes them: no reading
    connection.set_authorizer(authorizer)
