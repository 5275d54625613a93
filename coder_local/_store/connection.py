"""Opening SQLite the one right way for writing and for reading."""

from __future__ import annotations

import sqlite3
import unicodedata
from pathlib import Path

_INCREMENTAL = 2
MEMORY = Path(":memory:")
"""The path of a store that lives in memory, for tests."""


def fold(text: str | None) -> str | None:
    """Return a text as it is compared in any case: full case folding and compatible forms; in SQL `fold(text)`."""
    if text is None or text.isascii():
        return None if text is None else text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes and checkpoints.

    `synchronous=FULL`: an answered command has survived a power cut. Automatic checkpoints are off: the writer does
    them between groups, because within a commit they make its tail ten times longer.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=5)
    try:
        _prepare_writer(connection, in_memory=path == MEMORY)
    except sqlite3.Error:
        connection.close()  # or Windows would not let the file be set aside
        raise
    return connection


def _prepare_writer(connection: sqlite3.Connection, *, in_memory: bool) -> None:
    if not in_memory:
        # Before the first table exists, or it has no effect until a VACUUM. Said again, it is a write and three fsyncs.
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("PRAGMA trusted_schema = OFF")
    # Pages are kept for a ROLLBACK TO, and in a file, one write for each page, once they are more than 64 KB.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("fold", 1, fold, deterministic=True)


def open_unchanged(path: Path) -> sqlite3.Connection:
    """Open a connection that leaves the file as it is; any other writes the log into it when it is the last to close.

    A damaged file must not be written to, and one whose log is left must not lose it to whoever only looks.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return _reading(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5))


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write: SQLite before 3.51.3 may corrupt a WAL that two connections reset."""
    return _reading(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=5)
    )


def _reading(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.create_function("fold", 1, fold, deterministic=True)
    return connection
