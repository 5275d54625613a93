"""Calls of one operation inside another: what the caller may not do by itself, it may not do this way either."""

from __future__ import annotations

from typing import Any

import pytest

from coder_local._admission import Admission
from coder_local._registry.principal import OWNER, Principal
from coder_local.api import Domain, Error, Record, Safety, Transaction
from coder_local.testing import sandbox

from .probe import Probe

AGENT = Principal(actor="agent:a", owner=False)
RELAYS = ("probe.relay_query", "probe.relay_command", "probe.relay_action")


@pytest.fixture
def guarded(probe: Probe) -> Probe:
    probe.kernel.dispatcher.gate = Admission(probe.kernel)
    return probe


@pytest.mark.parametrize("relay", RELAYS)
async def test_a_call_inside_another_stays_in_the_domains_of_the_token(guarded: Probe, relay: str) -> None:
    agent = Principal(actor="agent:a", owner=False, domains=frozenset({"probe"}))
    error = await guarded.ask(relay, agent, name="other.double", input={"number": 1}).error()
    assert (error.kind, error.data) == ("refused", {"rule": "domain", "domain": "other"})
    wider = Principal(actor="agent:a", owner=False, domains=frozenset({"probe", "other"}))
    assert await guarded.ask(relay, wider, name="other.double", input={"number": 1}).answer() == 2
    assert await guarded.ask(relay, name="other.double", input={"number": 1}).answer() == 2


@pytest.mark.parametrize("relay", ["probe.relay_command", "probe.relay_action"])
async def test_a_call_inside_another_stays_in_the_scopes_of_the_token(guarded: Probe, relay: str) -> None:
    agent = Principal(actor="agent:a", owner=False, scopes=frozenset({Safety.WRITE}))
    assert await guarded.ask(relay, agent, name="other.set", input={"number": 1}).answer() == 1
    error = await guarded.ask(relay, agent, name="other.double", input={"number": 1}).error()
    assert (error.kind, error.data) == ("refused", {"rule": "scope", "scope": "read"})


@pytest.mark.parametrize("callee", ["other.wipe", "other.personal"])
@pytest.mark.parametrize("principal", [OWNER, AGENT])
async def test_nobody_is_led_round_the_question_to_a_person(guarded: Probe, callee: str, principal: Principal) -> None:
    error = await guarded.ask("probe.relay_command", principal, name=callee, input={}).error()
    assert (error.kind, error.data and error.data["rule"]) == ("refused", "safety")


# -- what a command takes besides its own input -----------------------------------------------------------------------

domain = Domain("pair")


@domain.table("things")
class Thing(Record):
    """Something."""

    name: str
    size: int = 0


domain.standard(Thing)


@domain.command("pair.call")
def call(tx: Transaction, *, name: str, input: dict[str, Any]) -> Any:
    """Call another operation, and tell which error it answers."""
    try:
        return tx.call(name, **input)  # type: ignore[arg-type]
    except Error as error:
        return [error.kind, error.field]


@domain.command("pair.twice")
def twice(tx: Transaction, *, id: str, inner: int) -> Any:
    """Write a record, then write it again by way of another operation."""
    thing = tx.get(Thing, id)
    tx.update(thing, size=thing.size + 1)
    return tx.call("pair.things.update", id=id, name="again", if_rev=inner)


def test_if_rev_holds_the_record_of_a_call_inside_another() -> None:
    with sandbox(domain) as box:
        id = box.call("pair.things.create", name="a")["id"]
        stale = {"id": id, "name": "b", "if_rev": 7}
        assert box.call("pair.call", name="pair.things.update", input=stale) == ["stale", None]
        assert box.call("pair.things.get", id=id)["name"] == "a"
        assert box.call("pair.call", name="pair.things.update", input={**stale, "if_rev": 1})["rev"] == 2


def test_the_revs_of_both_calls_hold() -> None:
    with sandbox(domain) as box:
        id = box.call("pair.things.create", name="a")["id"]
        assert box.call("pair.twice", id=id, inner=2, if_rev=1)["rev"] == 3
        for outer, inner in ((1, 4), (3, 3)):
            with pytest.raises(Error) as caught:
                box.call("pair.twice", id=id, inner=inner, if_rev=outer)
            assert caught.value.kind == "stale"
        assert box.call("pair.things.get", id=id)["rev"] == 3


def test_a_rev_that_holds_nothing_inside_another_call_is_told() -> None:
    with sandbox(domain) as box:
        inner = {"name": "pair.things.list", "input": {}, "if_rev": 1}
        assert box.call("pair.call", name="pair.call", input=inner) == ["invalid", "/if_rev"]


def test_a_key_inside_another_call_is_refused() -> None:
    with sandbox(domain) as box:
        keyed = {"name": "a", "idempotency_key": "k"}
        assert box.call("pair.call", name="pair.things.create", input=keyed) == ["invalid", "/idempotency_key"]
        assert box.call("pair.things.list")["items"] == []
