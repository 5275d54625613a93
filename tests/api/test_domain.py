"""Declaring: what cannot be is refused at once, with the cure."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from coder_local.api import Context, DeclarationError, Domain, Event, Kind, Record, Safety, Snapshot, Transaction


class Leaf(Record):
    title: str


def a_query(read: Snapshot) -> int:
    """Answer."""
    return 1


async def a_coroutine(ctx: Any) -> int:
    """Answer."""
    return 1


async def an_async_generator(ctx: Any) -> AsyncIterator[int]:
    """Answer."""
    yield 1


def a_generator(read: Any) -> Iterator[int]:
    """Answer."""
    yield 1


def undescribed(read: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("kind", "function", "cure"),
    [
        ("command", a_coroutine, "declare it with `def`, or make it an action"),
        ("command", an_async_generator, "declare it with `def`"),
        ("command", a_generator, "declare it with `def`"),
        ("query", a_coroutine, "declare it with `def` and return its answer"),
        ("query", a_generator, "declare it with `def` and return its answer"),
        ("action", a_query, "declare it with `async def`, or make it a command"),
        ("action", an_async_generator, "declare it with `async def`"),
        ("stream", a_query, "declare it with `async def` and `yield`"),
        ("stream", a_coroutine, "declare it with `async def` and `yield`"),
        ("stream", a_generator, "declare it with `async def` and `yield`"),
        ("query", undescribed, "needs a docstring"),
    ],
)
def test_a_function_of_the_wrong_form_is_refused(kind: str, function: Callable[..., Any], cure: str) -> None:
    domain = Domain("leaves")
    with pytest.raises(DeclarationError, match=cure) as raised:
        getattr(domain, kind)("leaves.do")(function)
    assert "leaves.do" in str(raised.value)
    assert domain.operations == {}


@pytest.mark.parametrize(
    ("kind", "function", "expected", "safety"),
    [
        ("query", a_query, Kind.QUERY, Safety.READ),
        ("command", a_query, Kind.COMMAND, Safety.WRITE),
        ("action", a_coroutine, Kind.ACTION, Safety.EXTERNAL),
        ("stream", an_async_generator, Kind.STREAM, Safety.READ),
    ],
)
def test_a_decorator_returns_the_function_unchanged(kind: str, function: Any, expected: Kind, safety: Safety) -> None:
    domain = Domain("leaves")
    assert getattr(domain, kind)("leaves.do")(function) is function
    operation = domain.operations["leaves.do"]
    assert (operation.kind, operation.safety, operation.function) == (expected, safety, function)


@pytest.mark.parametrize(
    "name", ["leaves", "other.do", "leaves.Do", "leaves..do", "leaves.do.", "leaves.1", "leaves do"]
)
def test_a_wire_name_that_is_not_the_domains_is_refused(name: Any) -> None:
    domain = Domain("leaves")
    with pytest.raises(DeclarationError, match=r"leaves\.<words>"):
        domain.query(name)(a_query)
    with pytest.raises(DeclarationError, match=r"leaves\.<words>"):
        domain.event(name)(Event)


@pytest.mark.parametrize("name", ["", "L", "Leaves", "1leaf", "a-b", "x" * 40])
def test_a_domain_name_that_cannot_be_a_prefix_is_refused(name: Any) -> None:
    with pytest.raises(DeclarationError, match="small letters"):
        Domain(name)


def test_a_name_is_declared_once() -> None:
    domain = Domain("leaves")
    domain.query("leaves.do")(a_query)
    with pytest.raises(DeclarationError, match="declared twice"):
        domain.command("leaves.do")(a_query)
    domain.event("leaves.leaf.fell")(Event)
    with pytest.raises(DeclarationError, match="declared twice"):
        domain.event("leaves.leaf.fell")(Event)


def test_fields_that_are_not_there_are_named() -> None:
    with pytest.raises(DeclarationError, match="no field 'colour'"):
        Domain("leaves").table("leaves", unique=[("colour",)])(Leaf)
    with pytest.raises(DeclarationError, match="no table yet"):
        Domain("leaves").standard(Leaf)
    domain = Domain("leaves")
    domain.table("leaves")(Leaf)
    wrong: Any = ("colour",)
    with pytest.raises(DeclarationError, match="no field 'colour'"):
        domain.standard(Leaf, operations=("list",), filters=wrong)
    with pytest.raises(DeclarationError, match=r"leaves\.sing: standard operations are"):
        domain.standard(Leaf, operations=("sing",))


def test_tables_and_words_are_named_after_domain_and_record() -> None:
    class OakLeaf(Record):
        title: str

    domain = Domain("leaves")
    domain.table("leaves")(Leaf)
    domain.table("oaks", read_only=("title",))(OakLeaf)
    own, other = domain.tables[Leaf], domain.tables[OakLeaf]
    assert (own.path, own.sql_name, own.word) == ("leaves", "leaves", "leaf")
    assert (other.path, other.sql_name, other.word) == ("leaves.oaks", "leaves_oaks", "oak_leaf")
    assert other.read_only == {"title"}


def test_what_runs_on_start_is_async() -> None:
    def started(ctx: Context) -> None: ...

    wrong: Any = started
    with pytest.raises(DeclarationError, match="async def"):
        Domain("leaves").on_start(wrong)


def test_a_transaction_is_a_snapshot_and_cannot_be_made_by_hand() -> None:
    assert issubclass(Transaction, Snapshot)
    made: Any = Transaction
    with pytest.raises(TypeError, match="abstract"):
        made()
