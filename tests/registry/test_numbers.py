"""Numbers that SQLite cannot keep are the caller's fault, and told so."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from coder_local._store.tables import refusal_of
from coder_local.api import Domain, Invalid, Record, Transaction
from coder_local.testing import sandbox

domain = Domain("count")


@domain.table("things")
class Thing(Record):
    """Something that is counted and weighed."""

    name: str
    size: int | None = None
    weight: float = 0.0


domain.standard(Thing, filters=("size",), sort=("size",))


@domain.command("count.weigh")
def weigh(tx: Transaction, *, weight: str) -> Thing:
    """Write a weight that was computed."""
    return tx.insert(Thing(name="n", weight=float(weight)))


@domain.command("count.reweigh")
def reweigh(tx: Transaction, *, id: str, weight: str) -> Thing:
    """Write a weight again."""
    return tx.update(tx.get(Thing, id), weight=float(weight))


@domain.command("count.power")
def power(tx: Transaction, *, exponent: int) -> Thing:
    """Write a size that was computed."""
    return tx.insert(Thing(name="n", size=2**exponent))


@domain.command("count.nameless")
def nameless(tx: Transaction) -> Thing:
    """Write a thing without a name."""
    return tx.insert(Thing(name=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_a_whole_number_over_64_bits_is_invalid_wherever_it_is_given(value: int) -> None:
    with sandbox(domain) as box:
        id = box.call("count.things.create", name="a")["id"]
        given: list[tuple[str, dict[str, Any]]] = [
            ("count.things.create", {"name": "a"}),
            ("count.things.update", {"id": id}),
            ("count.things.list", {}),
        ]
        for name, input in given:
            with pytest.raises(Invalid) as caught:
                box.call(name, **input, size=value)
            assert (caught.value.field, caught.value.message) == (
                "/size", "a whole number is at least -2^63 and under 2^63",
            )  # fmt: skip


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), None])
def test_every_whole_number_of_64_bits_is_kept(value: int | None) -> None:
    with sandbox(domain) as box:
        made = box.call("count.things.create", name="a", size=value)
        assert made["size"] == box.call("count.things.get", id=made["id"])["size"] == value


def test_a_cursor_with_a_longer_number_is_no_cursor() -> None:
    cursor = base64.urlsafe_b64encode(b'["size",99999999999999999999,"a"]').decode().rstrip("=")
    with sandbox(domain) as box, pytest.raises(Invalid) as caught:
        box.call("count.things.list", sort="size", cursor=cursor)
    assert caught.value.field == "/cursor"


@pytest.mark.parametrize("weight", ["nan", "inf", "-inf"])
def test_a_weight_that_is_no_finite_number_is_invalid(weight: str) -> None:
    with sandbox(domain) as box:
        id = box.call("count.weigh", weight="1.5")["id"]
        for name, input in (("count.weigh", {}), ("count.reweigh", {"id": id})):
            with pytest.raises(Invalid) as caught:
                box.call(name, **input, weight=weight)
            assert (caught.value.field, caught.value.message) == ("/weight", "weight of the thing is no finite number")
        assert box.call("count.things.get", id=id)["weight"] == 1.5


def test_a_whole_number_that_a_command_computed_too_long_is_invalid() -> None:
    with sandbox(domain) as box:
        assert box.call("count.power", exponent=62)["size"] == 2**62
        with pytest.raises(Invalid, match="not under 2\\^63"):
            box.call("count.power", exponent=63)


def test_an_empty_field_is_not_told_as_one_that_is_there_already() -> None:
    with sandbox(domain) as box, pytest.raises(Invalid) as caught:
        box.call("count.nameless")
    assert (caught.value.field, caught.value.message) == ("/name", "name of the thing may not be empty")
    table = box.kernel.registry.tables.of(Thing)
    assert refusal_of(ValueError("CHECK constraint failed: size"), table).kind == "invalid"
