"""Holding a plugin's migrations to its records: what they make, what is missing, and the SQL that puts it right."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from coder_local._store import migrations
from coder_local._store.tables import Table

_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+)")


def faults(folder: Path, tables: Sequence[Table]) -> Iterator[str]:
    """Yield how the migrations in a folder differ from what the records need, in plain words with the SQL to add."""
    files = migrations.find_files(folder)
    yield from _faults_of_files(folder, files)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for file in files:
            try:
                for statement in migrations.split(migrations.read(file)):
                    connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning) as error:
                yield f"migrations/{file.name} fails: {error}"
                return
        yield from migrations.verify(connection, tables)
        yield from _missing_indexes(connection, tables)


def script(tables: Sequence[Table], why: str) -> str:
    """Return a first migration that makes the tables, opening with the comment on why."""
    statements = "\n\n".join(f"{statement};" for table in tables for statement in table.ddl())
    return f"-- {why}\n\n{statements}\n"


def _faults_of_files(folder: Path, files: Sequence[Path]) -> Iterator[str]:
    numbers: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        if path not in files:
            yield f"migrations/{path.name} is never applied: name it 0001_<words>.sql, small letters, digits and _"
            continue
        number = path.name[:4]
        if number in numbers:
            yield f"migrations/{path.name} has the number of {numbers[number]}: give it the next one"
        numbers[number] = path.name
        if not path.read_text(encoding="utf-8").lstrip().startswith("--"):
            yield f"migrations/{path.name} does not say why it is there: open it with a comment, `-- why`"


def _missing_indexes(connection: sqlite3.Connection, tables: Sequence[Table]) -> Iterator[str]:
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in tables:
        for statement in table.ddl():
            found = _INDEX.match(statement)
            if table.name in made and found is not None and found[1] not in there:
                yield f"there is no index {found[1]}; put into the next migration: {statement};"
