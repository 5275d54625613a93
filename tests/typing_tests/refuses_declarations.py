"""What a plugin may not declare: each line with an ignore is an error to both type checkers."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

from coder_local.api import Context, Domain, Event, Heard, Record, Settings, Snapshot, Transaction

domain = Domain("shelf")


@domain.table("books")
class Book(Record):
    """A book."""

    title: str


class Loose:
    """No record, event or settings."""


@domain.command("shelf.a")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
async def a_command_that_is_async(tx: Transaction, *, id: str) -> Book:
    """Break: a transaction does not wait."""
    return tx.get(Book, id)


@domain.query("shelf.b")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
async def a_query_that_is_async(read: Snapshot, *, id: str) -> Book:
    """Break: a snapshot does not wait."""
    return read.get(Book, id)


@domain.query("shelf.c")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
def a_query_that_yields(read: Snapshot) -> Iterator[Book]:
    """Break: a query returns its answer."""
    yield from read.select(Book)


@domain.action("shelf.d")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def an_action_that_is_not_async(ctx: Context, *, id: str) -> str:
    """Break: an action is `async def`."""
    return ctx.now() + id


@domain.stream("shelf.e")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def a_stream_that_returns(ctx: Context) -> list[Book]:
    """Break: a stream yields."""
    return [Book(title=ctx.now())]


@domain.action("shelf.f")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def an_action_that_yields(ctx: Context) -> AsyncIterator[Book]:
    """Break: an action returns."""
    yield Book(title=ctx.now())


@domain.query("shelf.g")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_query_that_writes(tx: Transaction, *, id: str) -> Book:
    """Break: a query is handed a snapshot."""
    return tx.delete(tx.get(Book, id))


@domain.command("shelf.h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_command_with_a_context(ctx: Context, *, id: str) -> str:
    """Break: a command is handed a transaction."""
    return ctx.now() + id


@domain.action("shelf.i")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def an_action_with_a_transaction(tx: Transaction, *, id: str) -> Book:
    """Break: an action is handed a context."""
    return tx.get(Book, id)


@domain.command("shelf.j")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_command_without_a_transaction(*, id: str) -> str:
    """Break: the first parameter is the transaction."""
    return id


@domain.query("shelf.k")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
def a_query_that_answers_what_has_no_json(read: Snapshot) -> sqlite3.Connection:
    """Break: an answer is encoded as JSON."""
    raise NotImplementedError(read)


@domain.table("loose")  # pyright: ignore[reportArgumentType, reportUntypedClassDecorator]
class NoRecord(Loose):  # type: ignore[type-var]
    """Break: only a record is kept."""


@domain.event("shelf.book.seen")  # pyright: ignore[reportArgumentType, reportUntypedClassDecorator]
class NoEvent(Record):  # type: ignore[type-var]
    """Break: an event is an Event."""


@domain.settings  # pyright: ignore[reportArgumentType, reportUntypedClassDecorator]
class NoSettings(Loose):  # type: ignore[type-var]
    """Break: settings are a Settings."""


@domain.command("shelf.l", emits=Book)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_command_that_emits_a_record(tx: Transaction, *, id: str) -> None:
    """Break: events are said, not records."""
    tx.delete(tx.get(Book, id))


@domain.rule(Book)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_rule_without_the_record_after(tx: Transaction, before: Book | None) -> None:
    """Break: a rule is given both."""
    tx.find(Book, before.id if before else "")


@domain.on_start  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_start_that_is_not_async(ctx: Context) -> None:
    """Break: what runs on start waits for the world."""
    ctx.now()


def a_name_made_at_run_time(name: str) -> Any:
    """Break: a wire name is one full literal."""
    domain.command(f"shelf.{name}")  # pyright: ignore[reportArgumentType]
    Domain(name)  # pyright: ignore[reportArgumentType]
    domain.standard(Loose)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return Settings, Event


@domain.on_stop  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def a_stop_that_is_not_async(ctx: Context) -> None:
    """Break: what runs on stop waits for the world."""
    ctx.now()


@domain.listener("shelf.book.lent")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
def a_listener_without_the_event(tx: Transaction) -> None:
    """Break: a listener is given the event."""
    tx.number("n")


@domain.listener("shelf.book.lent")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def a_listener_that_waits(tx: Transaction, *, event: Heard) -> None:
    """Break: a listener runs inside a transaction."""
    tx.number(event.type)
