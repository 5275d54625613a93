"""A domain told to another process and rebuilt there is the same at every door."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from coder_local._contracts import docs
from coder_local._isolation.declarations import describe, rebuild
from coder_local._isolation.manifest import Permissions, covers
from coder_local._isolation.types import Describer, Rebuilder
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.registry import Registry
from coder_local._store.tables import Table
from coder_local.api import (
    DeclarationError,
    Domain,
    FilePath,
    Id,
    Instant,
    Kind,
    Money,
    Page,
    Record,
    Snapshot,
    Title,
    Value,
    ZonedTime,
)
from coder_local.testing.conformance import subject_of

ROOT = Path(__file__).parents[2]


class Colour(enum.StrEnum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Inner(Value):
    """A part."""

    amount: Money | None = None
    colours: tuple[Colour, ...] = (Colour.RED,)


class Outer(Record):
    """A whole."""

    title: Title
    parts: list[Inner] = []
    named: dict[str, Inner] = {}
    when: Instant | None = None
    word: Literal["a", "b"] = "a"
    number: Annotated[int, Meta(ge=0, le=9, description="A digit.")] = 3


class Tagged(msgspec.Struct, tag="tagged", forbid_unknown_fields=True, rename="camel"):
    """With options of its own."""

    some_field: int = 0


domain = Domain("whole", version="2.0")
domain.table("outers")(Outer)
domain.standard(Outer, filters=("word",), sort=("title",), search=("title",))


@domain.query("whole.look")
def look(
    read: Snapshot,
    *,
    id: Id,
    file: FilePath,
    colour: Colour = Colour.BLUE,
    left: str | UnsetType = UNSET,
    many: list[Inner] = [],  # noqa: B006 - the registry copies it
    when: ZonedTime | None = None,
    tagged: Tagged | None = None,
) -> Page[Outer]:
    """Look at it."""
    raise NotImplementedError


def rebuilt(of: Domain) -> Domain:
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(describe(of, Permissions(), docs.of_fields)))
    return rebuild(told, "elsewhere", remote=None).domain  # type: ignore[arg-type] - nothing is run


def contract(of: Domain) -> dict[str, Any]:
    """All that a caller sees of a domain."""
    registry = Registry()
    plugin = Plugin(of.name, Source.CORE, of.name)
    registry.take(plugin, of)
    assert plugin.loaded, plugin.reason
    seen: dict[str, Any] = {name: registry.tables.named(name) for name in []}
    for each in registry.operations():
        kind = each.operation.kind
        result = each.signature.result if kind is not Kind.STREAM else each.signature.result.__args__[0]
        schemas = msgspec.json.schema_components([each.signature.struct, result])
        head = (kind, each.operation.safety, each.operation.deadline, each.operation.person_only)
        seen[each.operation.name] = (head, each.description, schemas)
    seen["tables"] = [table_of(table) for table in registry.tables.all()]
    seen["events"] = {name: event and docs.of_fields(event) for name, event in registry.events().items()}
    return seen


def table_of(table: Table) -> tuple[Any, ...]:
    return table.ddl(), docs.of_fields(table.record), table.record.__doc__, table.declaration.word, table.kind


@pytest.mark.parametrize("of", [domain, subject_of(ROOT / "docs" / "examples" / "shelf").domain])
def test_a_rebuilt_domain_has_the_same_contract(of: Domain) -> None:
    made = rebuilt(of)
    assert (made.name, made.version, made.requires) == (of.name, of.version, of.requires)
    assert contract(made) == contract(of)
    assert set(made.tables).isdisjoint(of.tables)  # the daemon has no class of the plugin's


def test_defaults_are_values_of_the_rebuilt_types() -> None:
    made = rebuilt(domain)
    record: Any = next(iter(made.tables))
    assert msgspec.json.encode(record(title="x")) == msgspec.json.encode(Outer(title="x"))
    assert record(title="x").parts is not record(title="y").parts


@pytest.mark.parametrize("annotation", [Path, type, dict[str, Path], Annotated[str, Meta(extra={"a": 1})]])
def test_a_type_that_cannot_be_told_is_refused(annotation: Any) -> None:
    with pytest.raises(DeclarationError, match="cannot be told to another process"):
        Describer().tell(annotation)


@pytest.mark.parametrize("node", [["nothing"], "word", ["own", "unknown"], []])
def test_what_tells_of_no_type_is_refused(node: Any) -> None:
    told = {"name": "x", "version": "", "requires": [], "tables": [], "events": {}, "structs": [], "settings": None}
    operation = {"name": "x.y", "kind": "query", "first": "read", "parameters": [["a", node, ["required"]]]}
    with pytest.raises(DeclarationError):
        rebuild(told | {"operations": [operation]}, "elsewhere", remote=None)  # type: ignore[arg-type] - see above
    assert Rebuilder("elsewhere", {}).make("str") is str


def test_a_group_covers_what_is_in_it_and_nothing_else() -> None:
    assert covers(("planning.tasks.*",), "planning.tasks.create")
    assert covers(("planning.tasks.*",), "planning.tasks.*")
    assert covers(("planning.*",), "planning.tasks.*")
    assert covers(("planning.next",), "planning.next")
    for name in ("planning.next", "planning.tasks_more.list", "planning.*", "*", "planning"):
        assert not covers(("planning.tasks.*",), name)
