"""The store's side of `Snapshot` and `Transaction`."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, TypeVar

import msgspec

from coder_local.api import (
    Event,
    Fault,
    Instant,
    Invalid,
    NotFound,
    Operation,
    Record,
    Rights,
    Settings,
    Snapshot,
    Stale,
    TooLarge,
    Transaction,
    Withheld,
)
from coder_local.api.errors import Unauthenticated

from .caller import Caller, Calls, Log
from .clock import Clock, IdMaker, instant
from .eventlog import DATA_LIMIT
from .tables import Table, Tables, refusal_of

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Settings)

META_LIMIT = 64 * 1024
_NOT_WRITTEN = frozenset({"id", "workspace_id", "created_at", "updated_at", "rev", "deleted_at", "origin"})
_encode = msgspec.json.Encoder().encode


_TEXTS_KNOWN = 1000
_known_to_read: set[str] = set()
"""Statements that begin with WITH and write nothing."""


class ReadScope(Snapshot):
    """A snapshot on one connection."""

    go_on: Callable[[], None] | None = None
    """Raises when whoever asked was answered already: SQLite interrupts only a statement that runs, none to come."""
    running = ""
    """The operation whose function runs; empty for the caller's own."""
    without = ""
    """A domain whose operations are withheld here."""
    withheld = False
    """Whether one was called."""

    def __init__(self, connection: sqlite3.Connection, tables: Tables, calls: Calls, caller: Caller, ms: int) -> None:
        self.connection = connection
        self.tables = tables
        self.calls = calls
        self.caller = caller
        self.ms = ms
        self.actor = caller.actor
        self.workspace = caller.workspace

    def now(self) -> Instant:
        return instant(self.ms)

    def _execute(self, sql: str, values: Any) -> sqlite3.Cursor:
        if self.go_on is not None:
            self.go_on()
        return self.connection.execute(sql, values)

    def write_log(self) -> None:
        """Call it before reading history or the event log: what other commands of this commit left may still wait."""

    def get(self, record: type[R], id: str, /) -> R:
        found = self.find(record, id)
        if found is None:
            raise missing(self.tables.of(record), id)
        return found

    def find(self, record: type[R], id: str, /, *, deleted: bool = False) -> R | None:
        table = self.tables.of(record)
        row = self._execute(table.find_sql if deleted else table.get_sql, (id,)).fetchone()
        return None if row is None else table.from_row(row)

    def id_of(self, table: Table, reference: str) -> str | None:
        """Return the id of the record that a reference names by its id or human key, or None."""
        row = self._execute(table.id_sql, table.naming(reference, self.workspace)).fetchone()
        return None if row is None else str(row[0])

    def row_of(self, table: Table, reference: str) -> tuple[Any, ...]:
        """Return the row of the record that a reference names by its id or human key. Raises `NotFound`."""
        row: tuple[Any, ...] | None
        row = self._execute(table.named_sql, table.naming(reference, self.workspace)).fetchone()
        if row is None:
            raise missing(table, reference)
        return row

    def named(self, record: type[R], reference: str) -> R:
        """Return the record that a reference names by its id or human key. Raises `NotFound`."""
        table = self.tables.of(record)
        found: R = table.from_row(self.row_of(table, reference))
        return found

    def select(
        self,
        record: type[R],
        where: LiteralString = "",
        /,
        *,
        order: LiteralString = "",
        limit: int | None = None,
        deleted: bool = False,
        **values: Any,
    ) -> list[R]:
        table = self.tables.of(record)
        terms = [f"({where})"] if where else []
        if not deleted:
            terms.append("deleted_at IS NULL")
        sql = f"SELECT {table.names} FROM {table.name}"  # noqa: S608 - literals and declared names only
        if terms:
            sql += " WHERE " + " AND ".join(terms)
        sql += f" ORDER BY {order or 'id'}"
        if limit is not None:
            sql += f" LIMIT {int(limit)}"
        return [table.from_row(row) for row in self._execute(sql, bind(values))]

    def rows(self, sql: LiteralString, /, **values: Any) -> list[tuple[Any, ...]]:
        head = sql.lstrip()[:6].upper()
        if not (head == "SELECT" or (head[:4] == "WITH" and self._only_reads(sql, values))):
            raise ValueError("rows() is for SELECT; write records with insert, update and delete")
        return self._execute(sql, bind(values)).fetchall()

    def _only_reads(self, sql: str, values: dict[str, Any]) -> bool:
        """Tell whether a statement writes nothing, as SQLite compiles it: `WITH` may begin a DELETE as well.

        Asked once for each text (30 us). An authorizer would have every prepared statement compiled anew.
        """
        if sql in _known_to_read:
            return True
        steps = self.connection.execute(f"EXPLAIN {sql}", bind(values))
        if any(opcode == "Transaction" and writes for _, opcode, _, writes, *_ in steps):
            return False
        if len(_known_to_read) >= _TEXTS_KNOWN:
            _known_to_read.clear()
        _known_to_read.add(sql)
        return True

    def call(self, name: LiteralString, /, **input: Any) -> Any:
        if self.go_on is not None:
            self.go_on()
        return self.calls.run_inside(self, name, input)

    def offers(self, name: LiteralString, /) -> bool:
        return self.calls.offers(name)

    def settings(self, settings: type[S], /) -> S:
        current: S = self.calls.settings_of(settings)
        return current

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        return self.calls.offered(hook, **arguments)

    def operation(self, name: str, /) -> Operation:
        return self.calls.operation(name)

    def check(self, name: str, input: Mapping[str, Any], /) -> list[Fault]:
        return self.calls.check(name, input)

    def rights(self) -> Rights:
        return self.calls.rights_of(self.caller)

    @property
    def folder(self) -> Path:
        return self.calls.folder_of((self.running or self.caller.operation).partition(".")[0])


Change = tuple[str, str, int, str | None, str]
"""One record as a command wrote it: table, id, rev, and as JSON what differs, before (None if new) and after."""


class _Hold:
    """An `if_rev` of a command inside another, until its record is read for writing."""

    def __init__(self, id: str, rev: int) -> None:
        self.id = id
        self.rev = rev
        self.waits = True

    def meets(self, names: Collection[str | None]) -> bool:
        """Tell, once, whether this is its record."""
        met = self.waits and self.id in names
        self.waits = self.waits and not met
        return met


class WriteScope(ReadScope, Transaction):
    """A transaction: what one command writes and says."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tables: Tables,
        calls: Calls,
        caller: Caller,
        clock: Clock,
        ids: IdMaker,
        log: Log,
    ) -> None:
        super().__init__(connection, tables, calls, caller, clock.now_ms())
        self._clock = clock
        self._ids = ids
        self._log = log
        self._lost: BaseException | None = None
        """What took the whole transaction away in a part of it."""
        self.parts: list[WriteScope] = []
        """What was done on behalf of others, in order."""
        self.changes: list[Change] = []
        self.events: list[tuple[str, str, str]] = []
        """What was said: type, subject, data as JSON."""
        self.undoes: tuple[int, int] | None = None
        """First and last number of the change set that this one takes back."""
        self.expected: tuple[str, int] | None = None
        """Id and rev that the caller's `if_rev` holds a record to, until it is read for writing."""
        self._holds: list[_Hold] = []
        """The same of the commands that run inside this one."""

    def write_log(self) -> None:
        self._log.write()

    def acting(self, rights: Rights, operation: str = "", *, without: str = "") -> AbstractContextManager[Transaction]:
        if rights.token is not None and not self._is_valid(rights.token):
            raise Unauthenticated("this token was revoked", hint="make another with tokens.create")
        part = self.part(self.calls.acting(self.caller, rights, operation))
        part.inner.running = self.running or self.caller.operation
        part.inner.without = without or self.without
        return part

    def _is_valid(self, token: str) -> bool:
        sql = "SELECT 1 FROM token WHERE id = ? AND revoked_at IS NULL"
        return self.connection.execute(sql, (token,)).fetchone() is not None

    def part(self, caller: Caller) -> Part:
        """Return a part of this transaction in a savepoint, with changes and events of its own, to be entered once.

        If the block raises, the part is taken back and the exception goes on.
        """
        inner = WriteScope(self.connection, self.tables, self.calls, caller, self._clock, self._ids, self._log)
        inner.ms, inner.without = self.ms, self.without
        return Part(self, inner, self._log)

    def lose(self, error: BaseException) -> None:
        """Note what took the whole transaction away."""
        self._lost = error

    def _refuse_lost(self) -> None:
        """Raise if the transaction is gone: a statement after that would commit by itself."""
        if not self.connection.in_transaction:
            raise self._lost or sqlite3.OperationalError("the transaction was taken back by the database")

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
        self._refuse_lost()
        try:
            self.connection.execute(table.insert_sql, table.to_row(new))
        except (sqlite3.IntegrityError, OverflowError) as error:
            raise refusal_of(error, table) from error
        if table.history:
            self.changes.append((table.name, new.id, 1, None, _encode(new).decode()))
            self._say(table, new, "created", ())
        return new

    def update(self, record: R, /, **changes: Any) -> R:
        if wrong := _NOT_WRITTEN & changes.keys():
            raise ValueError(f"{', '.join(sorted(wrong))}: written by the store, not by update()")
        return self._write(record, changes, "updated")

    def delete(self, record: R, /) -> R:
        table = self.tables.of(type(record))
        if not table.history:
            return self._erase(table, record)
        return self._write(record, {"deleted_at": self.now()}, "deleted")

    def _erase(self, table: Table, record: R) -> R:
        """Take a record away for good, and return it as it would stand there as deleted."""
        now = self.now()
        self._hold(table, record)
        gone = msgspec.structs.replace(record, deleted_at=now, updated_at=now, rev=record.rev + 1)
        self._check(table, record, gone)
        self._refuse_lost()
        try:
            erased = self.connection.execute(table.erase_sql, (record.id, record.rev)).rowcount
        except sqlite3.IntegrityError as error:
            raise refusal_of(error, table) from error
        if not erased:
            raise self._stale(table, record.id)
        return gone

    def restore(self, record: R, /) -> R:
        if not self.tables.of(type(record)).history:
            raise ValueError(f"{type(record).__name__} is kept without history: what was deleted is gone")
        return self._write(record, {"deleted_at": None}, "restored")

    def write_back(self, record: R, values: dict[str, Any]) -> R:
        """Write old values of a record again, the mark of deletion among them; for undo."""
        verb = "updated"
        if "deleted_at" in values:
            verb = "restored" if values["deleted_at"] is None else "deleted"
        return self._write(record, values, verb)

    def _write(self, record: R, changes: dict[str, Any], verb: str) -> R:
        table = self.tables.of(type(record))
        changes = {name: value for name, value in changes.items() if getattr(record, name) != value}
        self._hold(table, record)
        if not changes:
            return record
        new = msgspec.structs.replace(record, **changes, rev=record.rev + 1, updated_at=self.now())
        self._check(table, record, new)
        update = table.update_of((*changes, "rev", "updated_at"))
        self._refuse_lost()
        try:
            written = self.connection.execute(update.sql, (*update.values(new), record.id, record.rev)).rowcount
        except (sqlite3.IntegrityError, OverflowError) as error:
            raise refusal_of(error, table) from error
        if not written:
            raise self._stale(table, record.id)
        if table.history:
            before = _encode({name: getattr(record, name) for name in changes}).decode()
            self.changes.append((table.name, record.id, new.rev, before, _encode(changes).decode()))
            self._say(table, new, verb, tuple(changes))
        return new

    def _hold(self, table: Table, record: Record) -> None:
        """Hold the record to the caller's `if_rev`, once: later writes of the same command have moved its rev."""
        if self.expected is None and not self._holds:
            return
        names = {record.id, table.key_of(record)}
        revs = [hold.rev for hold in self._holds if hold.meets(names)]
        if self.expected is not None and self.expected[0] in names:
            revs.append(self.expected[1])
            self.expected = None
        if any(rev != record.rev for rev in revs):
            raise self._stale(table, record.id)

    @contextmanager
    def holding(self, id: str, rev: int) -> Generator[None]:
        """Hold a record to a rev while a command runs inside this one. Raises `Invalid` if it writes no such record."""
        hold = _Hold(id, rev)
        self._holds.append(hold)
        try:
            yield
        finally:
            self._holds.remove(hold)
        if hold.waits:
            raise unread_expectation()

    def _stale(self, table: Table, id: str) -> Stale:
        current = self.find(table.record, id, deleted=True)
        return Stale(
            f"this {table.declaration.word} was changed since you read it",
            hint="look at data.current, then write again with its rev",
            data={"current": None if current is None else msgspec.to_builtins(current)},
        )

    def _check(self, table: Table, before: Record | None, after: Record) -> None:
        if after.meta and len(_encode(after.meta)) > META_LIMIT:
            raise TooLarge("meta is over 64 KiB", field="/meta", data={"limit": META_LIMIT})
        for name in table.floats:  # SQLite keeps NaN as NULL, and JSON has no word for infinity
            value = getattr(after, name)
            if value is not None and not math.isfinite(value):
                raise Invalid(f"{name} of the {table.declaration.word} is no finite number", field=f"/{name}")
        for rule in self.tables.rules.get(table.record, ()):
            rule(self, before, after)

    def emit(self, event: Event, /) -> None:
        type_, kind = self.calls.event_type(type(event))
        word = kind.rsplit(".", 1)[-1]
        subject = getattr(event, word, None)
        data = _encode(event)
        if len(data) > DATA_LIMIT:
            raise TooLarge(f"event {type_} is over 8 KB; say ids and words, not values", data={"limit": DATA_LIMIT})
        self.events.append((type_, f"{kind}/{subject}" if isinstance(subject, str) else kind, data.decode()))

    def _say(self, table: Table, record: Record, verb: str, changed: tuple[str, ...]) -> None:
        data = _encode({"id": record.id, "rev": record.rev, "changed": changed}).decode()
        self.events.append((f"{table.kind}.{verb}", f"{table.kind}/{record.id}", data))

    def number(self, counter: str, /) -> int:
        self._refuse_lost()
        row = self.connection.execute(
            "INSERT INTO counter (name, value) VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (counter,),
        ).fetchone()
        return int(row[0])

    def new_id(self) -> str:
        """Return a fresh id."""
        return self._ids.new()


class Part:
    """A savepoint of a transaction. A class, for a generator would take as long as both of its statements."""

    __slots__ = ("_before", "_log", "_outer", "inner")

    def __init__(self, outer: WriteScope, inner: WriteScope, log: Log) -> None:
        self._outer = outer
        self._log = log
        self.inner = inner
        self._before: Any = None

    def __enter__(self) -> WriteScope:
        self._before = self._log.place()
        self.inner.connection.execute("SAVEPOINT part")
        return self.inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, withheld = self.inner.connection, self.inner.withheld
        if error is None and not withheld:
            connection.execute("RELEASE part")
            self._outer.parts.append(self.inner)
        elif error is not None and not connection.in_transaction:  # a full disk, or an interrupt, took all with it
            self._outer.lose(error)
        else:
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
            self._log.go_back(self._before)
            if withheld:  # whatever was made of it inside
                self._outer.withheld = bool(self._outer.without)
                raise Withheld from error


def missing(table: Table, id: str) -> NotFound:
    """Return the answer for an id that names no record."""
    return NotFound(
        f"no {table.declaration.word} with id {id!r}",
        field="/id",
        hint=f"look ids up with {table.declaration.path}.list",
        data={"record": table.kind, "id": id},
    )


def bind(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as SQLite takes them: lists and tuples as JSON text, for `json_each`."""
    return {
        name: _encode(value).decode() if isinstance(value, (list, tuple, set, frozenset, dict)) else value
        for name, value in values.items()
    }


def unread_expectation() -> Invalid:
    """Return the answer for an `if_rev` that no written record was held to."""
    return Invalid(
        "if_rev holds nothing: this call wrote no record with that id",
        field="/if_rev",
        hint="leave if_rev out, or name the record by id",
    )
