"""What a transaction did in a plugin's process, step by step, and doing it again on the writer.

The process works on a snapshot. On the writer each of its reads is asked again, and must be answered as it was there;
each of its writes is done by the store as for any plugin. So what is committed is what the function would have done
on the writer, and the writer never waits for the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from coder_local._store.scope import WriteScope
from coder_local.api import Domain, Error, Invalid, Record, Refused

from .authorizer import Authorizer, watch
from .declarations import Rebuilt

Step = list[Any]
_pack = msgspec.msgpack.Encoder().encode
_AGE = 60_000
"""Milliseconds that a transaction's time may lie back."""


class Moved(Exception):
    """Something that the transaction read is no longer as it was."""


class Plan(msgspec.Struct, frozen=True):
    """One transaction of a plugin's process."""

    ms: int
    """Its time, in milliseconds since 1970."""
    steps: list[Step]
    answer: bytes
    """What its function returned, as JSON."""


def digest(rows: Iterable[Any]) -> bytes:
    """Return what tells one set of rows from another, in whatever order they come.

    A statement without an order may be answered in another one where its rows are all in one table.
    """
    return hashlib.blake2b(b"".join(sorted(_pack(list(row)) for row in rows)), digest_size=16).digest()


class Replay:
    """Does on the writer what plans say, for one plugin."""

    def __init__(
        self, plugin: Rebuilt, connect: Callable[[], sqlite3.Connection], may_ask: Callable[[str, bytes], object]
    ) -> None:
        self._tables: Mapping[str, type[Record]] = plugin.tables
        self._domain: Domain = plugin.domain
        self._connect = connect
        """Makes a connection that cannot write, on which a statement is compiled to see which tables it reads."""
        self._may_ask = may_ask
        """Raises `Error` for what the plugin may not call inside a transaction: the process may send any step."""
        self._allowed: set[str] = set()

    def run(self, scope: WriteScope, plan: Plan) -> None:
        """Do all steps of a plan. Raises `Moved`, the named error of a write, and `Invalid` for what is no plan."""
        if not scope.ms - _AGE <= plan.ms <= scope.ms + 1000:
            raise Invalid("the time of this transaction is not now", hint="set the clock, and call again")
        scope.ms = plan.ms
        for step in plan.steps:
            try:
                self._step(scope, step)
            except (IndexError, KeyError, ValueError, TypeError) as error:
                if isinstance(error, Error):
                    raise
                what = f"{type(error).__name__}: {error}"
                raise Invalid(f"a step of the plugin's transaction is wrong: {what}") from error

    def _step(self, scope: WriteScope, step: Step) -> None:
        match step:
            case ["read", str() as sql, values, bytes() as seen]:
                self._allow(sql, values)
                if digest(scope.connection.execute(sql, values)) != seen:
                    raise Moved
            case ["insert", str() as table, bytes() as record]:
                scope.insert(msgspec.json.decode(record, type=self._tables[table]))
            case ["write", str() as table, str() as id_, int() as rev, str() as verb, bytes() as changes]:
                self._write(scope, self._tables[table], id_, rev, verb, changes)
            case ["say", str() as type_, bytes() as data]:
                scope.emit(msgspec.json.decode(data, type=self._domain.events[type_]))
            case ["number", str() as counter, int() as number]:
                if scope.number(counter) != number:
                    raise Moved
            case ["call", str() as name, bytes() as input_, bytes() as seen]:
                self._may_ask(name, input_)
                answer = cast("Any", scope).call(name, **msgspec.json.decode(input_))
                if digest([[msgspec.json.encode(answer)]]) != seen:
                    raise Moved
            case _:
                raise ValueError(f"{step[:1]} is no step")

    def _write(self, scope: WriteScope, cls: type[Record], id_: str, rev: int, verb: str, changes: bytes) -> None:
        record = scope.find(cls, id_, deleted=True)
        if record is None or record.rev != rev:
            raise Moved
        if verb == "delete":
            scope.delete(record)
        elif verb == "restore":
            scope.restore(record)
        else:
            types = {field.name: field.type for field in msgspec.structs.fields(cls)}
            found = cast("dict[str, Any]", msgspec.json.decode(changes))
            scope.update(record, **{name: msgspec.convert(value, types[name]) for name, value in found.items()})

    def _allow(self, sql: str, values: Any) -> None:
        """Raise `Refused` for a statement that writes, or reads what is not the plugin's."""
        if sql in self._allowed:
            return
        with contextlib.closing(self._connect()) as checking:
            watch(checking, Authorizer(frozenset(self._tables)))
            try:
                checking.execute(f"EXPLAIN {sql}", values)
            except sqlite3.DatabaseError as error:
                raise Refused(f"a statement reads what is not the plugin's own: {error}") from error
        if len(self._allowed) > 1000:
            self._allowed.clear()
        self._allowed.add(sql)
