"""The database in numbers: how much of what, and when; not one value that a person gave."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

_PRAGMAS = ("page_size", "page_count", "freelist_count", "journal_mode", "auto_vacuum", "user_version")


def facts(path: Path) -> dict[str, Any]:
    """Return what can be counted; a part that cannot be read says so, and the others go on."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        return {
            "pragmas": {name: _one(connection, f"PRAGMA {name}") for name in _PRAGMAS},
            "rows": _counts(connection),
            "schema": _schema(connection),
            "migrations": _list(connection, "SELECT migration_set, name FROM _sqlite_migrations ORDER BY id"),
            "events_by_hour": _list(
                connection,
                "SELECT strftime('%Y-%m-%dT%H', at / 1000, 'unixepoch') AS hour, type, count(*) FROM event"
                " WHERE at > (SELECT max(at) FROM event) - 72 * 3600000 GROUP BY hour, type",
            ),
            "audit": _list(connection, "SELECT operation, outcome, count(*) FROM audit GROUP BY operation, outcome"),
            "consumers": _list(connection, "SELECT name, cursor, state, failures FROM event_consumer"),
        }
    finally:
        connection.close()


def _one(connection: sqlite3.Connection, sql: str) -> Any:
    try:
        return connection.execute(sql).fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        return f"<{type(error).__name__}>"


def _list(connection: sqlite3.Connection, sql: str, *values: str) -> Any:
    try:
        return [list(row) for row in connection.execute(sql, values)]
    except sqlite3.Error as error:
        return f"<{type(error).__name__}>"


def _counts(connection: sqlite3.Connection) -> Any:
    names = _list(connection, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    if isinstance(names, str):
        return names
    return {name: _one(connection, f'SELECT count(*) FROM "{name}"') for (name,) in names}  # noqa: S608 - of the schema


def _schema(connection: sqlite3.Connection) -> Any:
    """Return names and columns; the statements themselves may hold comments."""
    names = _list(connection, "SELECT type, name, tbl_name FROM sqlite_master ORDER BY type, name")
    if isinstance(names, str):
        return names
    return [
        [
            *row,
            _list(connection, "SELECT name, type FROM pragma_table_info(?)", row[1]) if row[0] == "table" else None,
        ]
        for row in names
    ]
