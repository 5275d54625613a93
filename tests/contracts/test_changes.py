# No `from __future__ import annotations`: the declarations below are made with types that are chosen at run time.
"""A breaking change of each kind is found, and a harmless one is not."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, defstruct, field

from coder_local._contracts import files
from coder_local._contracts.changes import Breaking, breaking, unnamed
from coder_local.api import Domain, Event, Id, Record, Safety, Settings, Snapshot, Transaction, Value
from tests.contracts import runs

REQUIRED = inspect.Parameter.empty


class Part(Value):
    """A part of an input or of an answer."""

    size: int
    colour: Literal["red", "blue"] = "red"
    holds: "list[Part]" = field(default_factory=list)


class Kept(Record):
    """What is kept."""

    title: str
    count: int = 0


class Sold(Event):
    """It was sold."""

    item: str
    price: int


class ShopSettings(Settings):
    """How it is run."""

    open: bool = True


TAKEN: dict[str, tuple[Any, Any]] = {
    "what": (Part, REQUIRED),
    "amount": (Annotated[int, Meta(ge=1, le=100)], 1),
    "note": (Annotated[str, Meta(max_length=50)] | None, None),
    "way": (Literal["fast", "slow", "never"], "fast"),
    "tags": (list[str], []),
    "free": (dict[str, int], {}),
}
ANSWERED: dict[str, Any] = {
    "total": int,
    "part": Part,
    "late": int | None,
    "parts": list[Part],
    "pair": tuple[int, str],
}


def record(base: type, name: str, fields: Mapping[str, Any]) -> Any:
    """Return a class made at run time."""
    return type(base)(name, (base,), {"__annotations__": dict(fields), "__doc__": "It.", "__module__": __name__})


def contracts(
    *,
    taken: Mapping[str, tuple[Any, Any]] = TAKEN,
    answered: Any = None,
    kept: Any = Kept,
    said: Any = Sold,
    settings: Any = ShopSettings,
    name: Any = "shop.items.buy",
    safety: Safety = Safety.WRITE,
    person_only: bool = False,
    item_verbs: Any = ("list", "get", "create", "delete"),
    event: Any = "shop.item.sold",
) -> dict[str, str]:
    """Return the contracts of one small domain."""
    domain = Domain("shop")
    domain.table("items")(kept)
    domain.standard(kept, operations=item_verbs)
    domain.event(event)(said)
    if settings is not None:
        domain.settings(settings)

    def buy(tx: Transaction, **_: Any) -> Any:
        """Buy it."""

    result = answered if answered is not None else defstruct("Receipt", list(ANSWERED.items()))
    first = inspect.Parameter("tx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Transaction)
    rest = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, (a, d) in taken.items()
    ]
    buy.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    buy.__annotations__ = {"tx": Transaction, "return": result, **{name: a for name, (a, _) in taken.items()}}
    domain.command(name, emits=said, safety=safety, person_only=person_only)(buy)
    return files.render(runs.kernel_of(domain).registry)


BASE = contracts()


def receipt(**changes: Any) -> Any:
    """Return the type of an answer with some fields changed; None takes a field away."""
    fields = {name: type_ for name, type_ in {**ANSWERED, **changes}.items() if type_ is not None}
    return defstruct("Receipt", list(fields.items()))


def takes(**changes: Any) -> dict[str, tuple[Any, Any]]:
    """Return the parameters with some changed; None takes one away."""
    return {name: part for name, part in {**TAKEN, **changes}.items() if part is not None}


PartWithout = record(Value, "Part", {"size": int})
PartWithColour = record(Value, "Part", {"size": int, "colour": Literal["red", "blue"], "holds": list[Part]})
FewerColours = defstruct("Part", [("size", int), ("colour", Literal["red"], "red"), ("holds", list[Part], [])])

Short = Annotated[str, Meta(max_length=5)]
KeptText = record(Record, "Kept", {"title": str, "count": str})
SoldForText = record(Event, "Sold", {"item": str, "price": str})
GreenPart = defstruct("Part", [("size", int), ("colour", Literal["red", "blue", "green"]), ("holds", list[Part])])


def note(**limits: Any) -> dict[str, tuple[Any, Any]]:
    """Return the parameters with other limits on one of them."""
    return takes(note=(Annotated[str, Meta(**{"max_length": 50, **limits})] | None, None))


def amount(**limits: Any) -> dict[str, tuple[Any, Any]]:
    """Return the parameters with other limits on one of them."""
    return takes(amount=(Annotated[int, Meta(**{"ge": 1, "le": 100, **limits})], 50))


BUY, SOLD = "shop.items.buy", "shop.item.sold"
FOUND: dict[str, tuple[dict[str, Any], str, str]] = {
    "operation removed": ({"item_verbs": ("list", "get", "create")}, "shop.items.delete", "the operation is gone"),
    "operation renamed": ({"name": "shop.items.purchase"}, BUY, "the operation is gone"),
    "required parameter added": ({"taken": takes(who=(str, REQUIRED))}, BUY, "/who must be given now"),
    "parameter became required": ({"taken": takes(amount=(int, REQUIRED))}, BUY, "/amount must be given"),
    "parameter removed": ({"taken": takes(note=None)}, BUY, "/note is no longer taken"),
    "type changed": ({"taken": takes(amount=(str, "1"))}, BUY, "/amount no longer takes integer"),
    "null taken away": ({"taken": takes(note=(str, ""))}, BUY, "/note no longer takes null"),
    "word taken away": ({"taken": takes(way=(Literal["fast", "slow"], "fast"))}, BUY, "/way no longer takes 'never'"),
    "only words now": ({"taken": takes(note=(Literal["a"] | None, None))}, BUY, "/note takes only 'a' now"),
    "maximum lowered": ({"taken": amount(le=99)}, BUY, "maximum is 99, it was 100"),
    "minimum raised": ({"taken": amount(ge=2)}, BUY, "minimum is 2, it was 1"),
    "length limited": ({"taken": takes(tags=(list[Short], []))}, BUY, "/tags/*: maxLength is 5"),
    "least length": ({"taken": note(min_length=1)}, BUY, "minLength is 1, it was 0"),
    "pattern added": ({"taken": note(pattern="a")}, BUY, "pattern is 'a'"),
    "unique items": ({"taken": takes(tags=(set[str], set()))}, BUY, "/tags: items must be unique"),
    "values narrowed": ({"taken": takes(free=(dict[str, bool], {}))}, BUY, "/free/* no longer takes integer"),
    "inner field removed": ({"taken": takes(what=(PartWithout, REQUIRED))}, BUY, "/what/colour is no longer taken"),
    "inner field required": ({"taken": takes(what=(PartWithColour, REQUIRED))}, BUY, "/what/colour must be given now"),
    "inner word removed": ({"taken": takes(what=(FewerColours, REQUIRED))}, BUY, "/what/colour no longer takes 'blue'"),
    "answer field removed": ({"answered": receipt(total=None)}, BUY, "answer /total is gone"),
    "answer field nullable": ({"answered": receipt(total=int | None)}, BUY, "answer /total may be null now"),
    "answer field retyped": ({"answered": receipt(total=str)}, BUY, "answer /total may be string now"),
    "answer field wider": ({"answered": receipt(total=float)}, BUY, "answer /total may be number now"),
    "answer field open": ({"answered": receipt(total=Any)}, BUY, "answer /total may be anything now"),
    "answer item retyped": ({"answered": receipt(parts=list[int])}, BUY, "answer /parts/* may be integer now"),
    "answer pair retyped": ({"answered": receipt(pair=tuple[int, int])}, BUY, "answer /pair/* may be integer now"),
    "answer no longer an object": ({"answered": int}, BUY, "answer  may be integer now"),
    "inner answer field removed": ({"answered": receipt(part=PartWithout)}, BUY, "answer /part/colour is gone"),
    "safety raised": ({"safety": Safety.DESTRUCTIVE}, BUY, "its safety word is destructive, it was write"),
    "agents refused": ({"person_only": True}, BUY, "it is refused to agents now"),
    "event removed": ({"event": "shop.item.bought"}, SOLD, "the event is gone"),
    "event field removed": ({"said": record(Event, "Sold", {"item": str})}, SOLD, "data /price is gone"),
    "event field retyped": ({"said": SoldForText}, SOLD, "data /price may be string"),
    "settings removed": ({"settings": None}, "shop", "its settings are gone"),
    "setting removed": ({"settings": record(Settings, "Others", {})}, "shop", "/open is no longer taken"),
    "column dropped": ({"kept": record(Record, "Kept", {"title": str})}, "shop_items", "column count is gone"),
    "column retyped": ({"kept": KeptText}, "shop_items", "column count is TEXT, it was INTEGER"),
}  # fmt: skip
HARMLESS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "optional parameter added": {"taken": takes(who=(str | None, None))},
    "parameter became optional": {"taken": takes(what=(Part | None, None))},
    "limit loosened": {"taken": amount(ge=0, le=1000)},
    "limit taken away": {"taken": takes(note=(str | None, None))},
    "word added": {"taken": takes(way=(Literal["fast", "slow", "never", "later"], "fast"))},
    "type widened": {"taken": takes(amount=(Annotated[float, Meta(ge=1, le=100)] | str, 1))},
    "anything taken": {"taken": takes(amount=(Any, 1))},
    "default changed": {"taken": takes(amount=(TAKEN["amount"][0], 5))},
    "answer field added": {"answered": receipt(more=str)},
    "answer field never null": {"answered": receipt(late=int)},
    "answer word added": {
        "answered": receipt(part=GreenPart)
    },
    "safety lowered": {"safety": Safety.READ},
    "operation added": {"item_verbs": ("list", "get", "create", "update", "delete")},
    "event field added": {"said": record(Event, "Sold", {"item": str, "price": int, "who": str})},
    "column added": {"kept": record(Record, "Kept", {"title": str, "count": int, "more": str | None})},
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_breaking_change_is_found(name: str) -> None:
    changed, subject, what = FOUND[name]
    found = breaking(BASE, contracts(**changed))
    assert [change for change in found if change.subject == subject and what in change.what], found


@pytest.mark.parametrize(
    "name", ["word taken away", "safety raised", "event field removed", "maximum lowered", "agents refused"]
)
def test_a_breaking_change_is_found_once(name: str) -> None:
    assert len(breaking(BASE, contracts(**FOUND[name][0]))) == 1


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_is_not_taken_for_a_breaking_one(name: str) -> None:
    changed = HARMLESS[name]
    # A column that clients may write is an optional input as well; a required one would break.
    if name == "column added":
        changed = {**changed, "item_verbs": ("list", "get")}
        assert breaking(contracts(item_verbs=("list", "get"), kept=Kept), contracts(**changed)) == []
        return
    assert breaking(BASE, contracts(**changed)) == []


def routes(needs_id: bool, reads: bool = False) -> dict[str, str]:
    domain = Domain("way")

    if reads:

        @domain.query("way.things.go")
        def look(read: Snapshot, *, id: Id = "") -> None:
            """Look."""

    elif needs_id:

        @domain.command("way.things.go")
        def one(tx: Transaction, *, id: Id) -> None:
            """Go."""

    else:

        @domain.command("way.things.go")
        def all_(tx: Transaction, *, id: Id = "x") -> None:
            """Go."""

    return files.render(runs.kernel_of(domain).registry)


def test_another_route_is_found() -> None:
    what = "its route is POST /api/way/things/go, it was POST /api/way/things/{id}/go"
    assert Breaking("way.things.go", what) in breaking(routes(True), routes(False))


def test_another_kind_is_found() -> None:
    found = breaking(routes(False), routes(False, reads=True))
    assert Breaking("way.things.go", "it is a query, it was a command") in found


def test_a_union_that_loses_a_member_is_found_where_it_is_taken() -> None:
    def taking(union: Any) -> dict[str, str]:
        domain = Domain("union")

        @domain.query("union.take")
        def take(read: Snapshot, *, value: union) -> None:
            """Take it."""

        return files.render(runs.kernel_of(domain).registry)

    one, two = defstruct("One", [("a", int)], tag="one"), defstruct("Two", [("a", int)], tag="two")
    three = defstruct("Three", [("a", int)], tag="three")
    old = taking(one | two)
    assert breaking(old, taking(one | two | three)) == []
    assert [change.what for change in breaking(old, taking(one | three))] == ["input /value no longer takes object"]


def test_documents_that_were_not_there_are_not_compared() -> None:
    assert breaking({}, BASE) == []


CHANGELOG = """# Changes

## [Unreleased]

### Added
- `shop.items.delete` is new

### Breaking
- `shop.items.buy` needs to know who; it is not `shop.items.buy_all`.

### Fixed
- `shop.item.sold` is sent

## 0.1.0

### Breaking
- `shop.items.get`
"""


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        ("shop.items.buy", True),
        ("shop.items", False),
        ("shop.items.delete", False),
        ("shop.item.sold", False),
        ("shop.items.get", False),
        ("shop.items.buy_all", True),
    ],
)
def test_the_changelog_must_name_it_under_breaking(subject: str, named: bool) -> None:
    change = Breaking(subject, "the operation is gone")
    assert unnamed([change], CHANGELOG) == ([] if named else [change])
    assert unnamed([change], "") == [change]
