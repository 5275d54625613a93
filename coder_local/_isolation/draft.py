"""Snapshots and transactions in a plugin's process: reads from a read-only connection, writes put aside.

What a transaction writes is kept in temporary tables, and a temporary view in the name of each table shows both: what
it reads later holds what it wrote before. At its end all of that is rolled back, and its steps are sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, TypeVar, cast

import msgspec

from coder_local._store.caller import Caller, Calls
from coder_local._store.clock import IdMaker, SystemClock
from coder_local._store.connection import fold
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.tables import Table, Tables
from coder_local.api import Conflict, Error, Event, Record, Rights, Transaction, Unsupported
from coder_local.api.operations import TableDeclaration

from .authorizer import GONE, OVERLAY, Authorizer, watch
from .steps import Step, digest

R = TypeVar("R", bound=Record)
_json = msgspec.json.Encoder().encode
CLOCK = SystemClock()
_IDS = IdMaker(CLOCK)


class Reading:
    """A connection that reads the plugin's tables, used by one thread."""

    def __init__(self, path: Path, tables: Tables) -> None:
        # Not by `query_only`: a transaction keeps what it wrote in temporary tables of this connection.
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        self.connection.execute("PRAGMA trusted_schema = OFF")
        self.connection.create_function("fold", 1, fold, deterministic=True)
        self.authorizer = Authorizer(frozenset(table.name for table in tables.all()))
        watch(self.connection, self.authorizer)

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """Hold one view of the database; temporary tables that were made in it are gone afterwards."""
        with self.unwatched():
            self.connection.execute("BEGIN")
        try:
            yield self.connection
        finally:
            with self.unwatched():
                self.connection.execute("ROLLBACK")

    @contextmanager
    def unwatched(self) -> Generator[None]:
        """Let the store's own statements through."""
        self.authorizer.off = True
        try:
            yield
        finally:
            self.authorizer.off = False


class _Rows:
    """Rows that were read; as much of a cursor as a scope needs."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class _NoLog:
    """There is no journal here: history is written by the daemon."""

    def write(self) -> None:
        """Do nothing."""

    def place(self) -> Any:
        """Return nothing."""

    def go_back(self, place: Any) -> None:
        """Do nothing."""


class View(ReadScope):
    """A snapshot."""


class Draft(WriteScope):
    """A transaction whose steps are noted, to be done again on the writer."""

    def __init__(self, reading: Reading, tables: Tables, calls: Calls, caller: Caller, ms: int) -> None:
        super().__init__(reading.connection, tables, calls, caller, CLOCK, _IDS, _NoLog())
        self.ms = ms
        self.steps: list[Step] = []
        self._reading = reading
        self._overlaid: set[str] = set()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _execute(self, sql: str, values: Any) -> sqlite3.Cursor:
        rows = self.connection.execute(sql, values).fetchall()
        self.steps.append(["read", sql, values if isinstance(values, dict) else list(values), digest(rows)])
        return cast("sqlite3.Cursor", _Rows(rows))

    def call(self, name: LiteralString, /, **input: Any) -> Any:
        answer = self.calls.run_inside(self, name, input)
        self.steps.append(["call", name, _json(input), digest([[_json(answer)]])])
        return answer

    # -- writing ------------------------------------------------------------------------------------------------------

    def insert(self, record: R, /) -> R:
        table = self.tables.of(type(record))
        now = self.now()
        new = msgspec.structs.replace(
            record,
            id=record.id or self._ids.new(),
            workspace_id=record.workspace_id or self.workspace,
            created_at=record.created_at or now,
            updated_at=now,
            rev=1,
            deleted_at=None,
            origin=record.origin or self.actor,
        )
        self._check(table, None, new)
        if self._present(table, new) is not None:
            raise Conflict(f"there is already a {table.declaration.word} with the same id", field="/id")
        self._refuse_double(table, new)
        self.steps.append(["insert", table.name, _json(new)])
        self._keep(table, new)
        return new

    def _write(self, record: R, changes: dict[str, Any], verb: str) -> R:
        table = self.tables.of(type(record))
        changes = {name: value for name, value in changes.items() if getattr(record, name) != value}
        if not changes:
            # The writer must see it too: an `if_rev` holds the record although nothing differs.
            self.steps.append(["write", table.name, record.id, record.rev, "update", b"{}"])
            return record
        new = msgspec.structs.replace(record, **changes, rev=record.rev + 1, updated_at=self.now())
        self._check(table, record, new)
        found = self._present(table, record)
        if found is None or found[list(table.by_name).index("rev")] != record.rev:
            raise self._stale(table, record.id)
        self._refuse_double(table, new)
        sent = {"deleted": "delete", "restored": "restore"}.get(verb, "update")
        self.steps.append(["write", table.name, record.id, record.rev, sent, _json(changes)])
        self._keep(table, new)
        return new

    def _erase(self, table: Table, record: R) -> R:
        now = self.now()
        gone = msgspec.structs.replace(record, deleted_at=now, updated_at=now, rev=record.rev + 1)
        self._check(table, record, gone)
        self.steps.append(["write", table.name, record.id, record.rev, "delete", b"{}"])
        self._overlay(table)
        with self._reading.unwatched():
            self.connection.execute(f"INSERT INTO temp.{table.name}{GONE} VALUES (?)", (record.id,))  # noqa: S608
            self.connection.execute(f"DELETE FROM temp.{table.name}{OVERLAY} WHERE id = ?", (record.id,))  # noqa: S608
        return gone

    def _present(self, table: Table, record: Record) -> tuple[Any, ...] | None:
        """Return the row of a record as this transaction sees it, without noting that it was read."""
        found: tuple[Any, ...] | None = self.connection.execute(table.find_sql, (record.id,)).fetchone()
        return found

    def _refuse_double(self, table: Table, new: Record) -> None:
        """Raise `Conflict` as the database would: there are no indexes on what a transaction has written."""
        for fields in table.declaration.unique if new.deleted_at is None else ():
            terms = " AND ".join(f"{field} = ?" for field in fields)
            sql = f"SELECT id FROM {table.name} WHERE {terms} AND id != ? AND deleted_at IS NULL"  # noqa: S608
            values = [table.by_name[field].to_sql(getattr(new, field)) for field in fields]
            if self._execute(sql, [*values, new.id]).fetchone() is not None:
                own = [field for field in fields if field != "workspace_id"]
                raise Conflict(
                    f"there is already a {table.declaration.word} with the same {' and '.join(own) or 'key'}",
                    field=f"/{own[0]}" if own else None,
                    hint="choose another value, or update the one that is there",
                    data={"unique": own},
                )

    def _overlay(self, table: Table) -> None:
        """Put a view before a table that shows what was written here in place of what stands there."""
        name = table.name
        if name in self._overlaid:
            return
        self._overlaid.add(name)
        with self._reading.unwatched():
            sql = f"CREATE TEMP TABLE {name}{OVERLAY} AS SELECT {table.names} FROM main.{name} LIMIT 0"  # noqa: S608
            self.connection.execute(sql)
            self.connection.execute(f"CREATE TEMP TABLE {name}{GONE} (id TEXT)")
            self.connection.execute(
                f"CREATE TEMP VIEW {name} AS SELECT {table.names} FROM main.{name} WHERE id NOT IN"  # noqa: S608
                f" (SELECT id FROM temp.{name}{OVERLAY} UNION ALL SELECT id FROM temp.{name}{GONE})"
                f" UNION ALL SELECT {table.names} FROM temp.{name}{OVERLAY}"
            )

    def _keep(self, table: Table, record: Record) -> None:
        self._overlay(table)
        marks = ", ".join("?" * len(table.columns))
        with self._reading.unwatched():
            self.connection.execute(f"DELETE FROM temp.{table.name}{OVERLAY} WHERE id = ?", (record.id,))  # noqa: S608
            sql = f"INSERT INTO temp.{table.name}{OVERLAY} VALUES ({marks})"  # noqa: S608 - declared names only
            self.connection.execute(sql, table.to_row(record))

    def emit(self, event: Event, /) -> None:
        before = len(self.events)
        super().emit(event)
        type_, _, data = self.events[before]
        self.steps.append(["say", type_, data.encode()])

    def number(self, counter: str, /) -> int:
        given = [step[2] for step in self.steps if step[0] == "number" and step[1] == counter]
        with self._reading.unwatched():
            row = self.connection.execute("SELECT value FROM counter WHERE name = ?", (counter,)).fetchone()
        number = (given[-1] if given else 0 if row is None else int(row[0])) + 1
        self.steps.append(["number", counter, number])
        return number

    @contextmanager
    def acting(self, rights: Rights, operation: str = "", *, without: str = "") -> Generator[Transaction]:  # noqa: ARG002
        raise unsupported("acting on behalf of somebody else")
        yield self


def unsupported(what: str) -> Error:
    """Return the answer for what only works inside the daemon."""
    return Unsupported(
        f"{what} does not work in a process of its own", hint='say isolation = "in_process" in plugin.toml'
    )


def tables_of(declared: Mapping[type[Record], TableDeclaration]) -> Tables:
    """Return the tables of a domain."""
    tables = Tables()
    for each in declared.values():
        tables.add(each)
    return tables
