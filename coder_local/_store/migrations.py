"""Migrations: numbered `.sql` files, one set for each plugin, each opening with a comment on why.

A set is applied in one transaction, checked against the plugin's records before it commits, and recorded by
sqlite-utils. What was not committed is no part of the database, whatever ends the process: no snapshot is needed to
take a migration back. Whether anything is pending is told by one row that is compared at start: no DDL, and no import,
at a warm start. A file whose name has the word `major` (`0007_major_split_tasks.sql`) may not be met by an older
program.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coder_local.api import Error

from .progress import CHECK, Progress
from .tables import Table

_FILE = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_TABLE = "_sqlite_migrations"
_CHECKSUM = "migration:"
"""Before `plugin/name` in `store_meta`: what the migration said when it was applied."""


class MigrationError(Error):
    """A migration cannot be applied; the plugin that owns it stays stopped and the data is as it was."""


class NewerData(MigrationError):
    """The data was written by a newer program in a way that this one does not understand."""


class MigrationSet(NamedTuple):
    """The migrations of one plugin, in order, and the tables they must lead to."""

    plugin: str
    files: tuple[Path, ...]
    tables: Callable[[], Sequence[Table]] = tuple
    content: str = ""
    """Hash of the plugin's files where it is known: other files may hold other records without another migration."""

    @property
    def names(self) -> list[str]:
        """The names that are recorded as applied."""
        return [file.name.removesuffix(".sql") for file in self.files]


def find_files(folder: Path) -> tuple[Path, ...]:
    """Return the migration files of a folder by number; nothing if there is none."""
    if not folder.is_dir():
        return ()
    return tuple(sorted((file for file in folder.iterdir() if _FILE.fullmatch(file.name)), key=lambda file: file.name))


def applied(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the names of the applied migrations by plugin, in order."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone():
        return {}
    found: dict[str, list[str]] = {}
    for plugin, name in connection.execute(f"SELECT migration_set, name FROM {_TABLE} ORDER BY id"):  # noqa: S608
        found.setdefault(plugin, []).append(name)
    return found


def fingerprint(sets: Iterable[MigrationSet]) -> str:
    """Return the text that is kept to tell at the next start that nothing is pending."""
    return "\n".join(f"{each.plugin}/{name}" for each in sets for name in (*each.names, each.content))


def refuse_newer(each: MigrationSet, done: Sequence[str]) -> None:
    """Raise `NewerData` if a major migration was applied that this program does not know."""
    unknown = [name for name in done if name not in each.names and "major" in name.split("_")]
    if unknown:
        raise NewerData(
            f"the data of {each.plugin} was written by a newer version ({', '.join(unknown)})",
            hint="install the newer version, or restore a snapshot from before it",
        )


def read(file: Path) -> str:
    """Return the text of a migration file. Its lines may end with CRLF, and a mark of byte order may come first."""
    return file.read_text(encoding="utf-8-sig")


def apply(connection: sqlite3.Connection, each: MigrationSet, progress: Progress | None = None) -> list[str]:
    """Apply what is pending of one set, all or nothing, and return the names. Raises `MigrationError`."""
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - 33 ms, only when something is pending

    progress = progress or Progress()
    steps = Migrations(each.plugin)
    database = Database(connection, execute_plugins=False)
    done = applied(connection).get(each.plugin, [])
    pending = [name for name in each.names if name not in done]
    for name, file in zip(each.names, each.files, strict=True):
        steps(name=name)(_step(file, progress, pending))
    if connection.in_transaction:  # the set before could not even be rolled back
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        steps.apply(database)
        progress.step(CHECK, len(pending))
        check(connection, each)
        record(connection, each)
        connection.execute("COMMIT")
    except BaseException as error:
        _roll_back(connection)
        progress.go_on()
        if isinstance(error, MigrationError):
            raise
        raise MigrationError(
            f"migration of {each.plugin} failed and was taken back: {error}",
            hint="the data is as it was; install a version whose migration works",
        ) from error
    return pending


def checksum(file: Path) -> str:
    """Return the checksum of a migration file: the same with LF and CRLF, with and without a mark of byte order."""
    import hashlib  # noqa: PLC0415 - 2 ms, and not at every start

    return hashlib.sha256(read(file).rstrip().encode()).hexdigest()


def record(connection: sqlite3.Connection, each: MigrationSet) -> None:
    """Keep the checksums of the applied migrations of a set that have none yet; within the caller's transaction."""
    known, done = _checksums(connection), applied(connection).get(each.plugin, [])
    new = [
        (f"{_CHECKSUM}{each.plugin}/{name}", checksum(file))
        for name, file in zip(each.names, each.files, strict=True)
        if name in done and f"{each.plugin}/{name}" not in known
    ]
    if new:
        connection.executemany("INSERT INTO store_meta (name, value) VALUES (?, ?)", new)


def edited(connection: sqlite3.Connection, sets: Iterable[MigrationSet]) -> list[tuple[str, str]]:
    """Return plugin and name of the migrations whose file no longer says what was applied.

    That does no harm to the data, which is as the file said then, and so refuses nothing.
    """
    known = _checksums(connection)
    return [
        (each.plugin, name)
        for each in sets
        for name, file in zip(each.names, each.files, strict=True)
        if known.get(f"{each.plugin}/{name}", now := checksum(file)) != now
    ]


def _checksums(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, value FROM store_meta WHERE name GLOB ?", (_CHECKSUM + "*",))
    return {name.removeprefix(_CHECKSUM): value for name, value in rows}


def _roll_back(connection: sqlite3.Connection) -> None:
    """Roll back what is open. If even that fails nothing was committed all the same, and the cause is what counts."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check(connection: sqlite3.Connection, each: MigrationSet) -> None:
    """Raise `MigrationError`, with the SQL that is missing, if a plugin's tables are not as its records need them."""
    if faults := verify(connection, each.tables()):
        raise MigrationError(f"after its migrations {each.plugin} is not as its records say: " + "; ".join(faults))


def _step(file: Path, progress: Progress, pending: Sequence[str]) -> Callable[[Any], None]:
    """Return the function that applies one file, as sqlite-utils takes it."""

    def step(database: Any) -> None:
        connection: sqlite3.Connection = database.conn
        name = file.name.removesuffix(".sql")
        progress.step(name, pending.index(name))
        connection.set_authorizer(_keeps_transaction)
        try:
            for statement in split(read(file)):
                progress.go_on()
                connection.execute(statement)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_AUTH:
                raise
            raise MigrationError(
                f"{file.name} begins or ends a transaction", hint="leave that out: all of a set is one transaction"
            ) from error
        finally:
            connection.set_authorizer(None)

    return step


def _keeps_transaction(action: int, *_: str | None) -> int:
    """Deny a migration to commit by itself: what fails after it could not be taken back."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


def split(script: str) -> list[str]:
    """Return the statements of an SQL script. `executescript` cannot serve: it commits first."""
    statements: list[str] = []
    rest = ""
    for part in re.findall(r"[^;]*;|[^;]+$", script):
        rest += part
        if part.endswith(";") and sqlite3.complete_statement(rest):
            statements.append(rest.strip())
            rest = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in rest.splitlines()):
        statements.append(rest.strip())  # SQLite says what is wrong with it
    return statements


def verify(connection: sqlite3.Connection, tables: Iterable[Table]) -> list[str]:
    """Return how the database differs from what the records need."""
    faults: list[str] = []
    for table in tables:
        found = {row[1]: (row[2], bool(row[3])) for row in connection.execute(f"PRAGMA table_info({table.name})")}
        if not found:
            faults.append(f"there is no table {table.name}; put into a migration:\n" + ";\n".join(table.ddl()) + ";")
        else:
            faults += table.check(found)
    return faults
