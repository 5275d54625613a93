"""Migrations: numbered `.sql` files, one set for each plugin, each opening with a comment on why.

A set is applied in one transaction, checked against the plugin's records before it commits, and recorded by
sqlite-utils. Whether anything is pending is told by one row that is compared at start: no DDL, and no import, at a
warm start. A file whose name has the word `major` (`0007_major_split_tasks.sql`) may not be met by an older program.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from coder_local.api import Error

from .tables import Table

_FILE = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_TABLE = "_sqlite_migrations"


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


def apply(connection: sqlite3.Connection, each: MigrationSet) -> list[str]:
    """Apply what is pending of one set, all or nothing, and return the names. Raises `MigrationError`."""
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - 33 ms, only when something is pending

    steps = Migrations(each.plugin)
    for file in each.files:
        _add(steps, file)
    database = Database(connection, execute_plugins=False)
    pending = [step.name for step in steps.pending(database)]
    connection.execute("BEGIN IMMEDIATE")
    try:
        steps.apply(database)
        check(connection, each)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, MigrationError):
            raise
        raise MigrationError(
            f"migration of {each.plugin} failed and was taken back: {error}",
            hint="the data is as it was; install a version whose migration works",
        ) from error
    return pending


def check(connection: sqlite3.Connection, each: MigrationSet) -> None:
    """Raise `MigrationError`, with the SQL that is missing, if a plugin's tables are not as its records need them."""
    if faults := verify(connection, each.tables()):
        raise MigrationError(f"after its migrations {each.plugin} is not as its records say: " + "; ".join(faults))


def _add(steps: object, file: Path) -> None:
    from sqlite_utils import Database, Migrations  # noqa: PLC0415 - see apply

    assert isinstance(steps, Migrations)  # noqa: S101 - for the type checker

    def step(database: Database) -> None:
        for statement in split(file.read_text(encoding="utf-8")):
            database.conn.execute(statement)

    steps(name=file.name.removesuffix(".sql"))(step)


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
