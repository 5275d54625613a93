"""A key stands for one call for 24 hours: the same call gets its first answer, any other a conflict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coder_local._registry.dispatch import Call
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER, Principal
from coder_local._store.clock import FakeClock
from coder_local.api import Conflict, Error, Invalid, Stale

from .items import events

DAY = 24 * 3600


def call(kernel: Kernel, name: str, principal: Principal = OWNER, /, **input: Any) -> Any:
    answers: list[tuple[bytes | None, Error | None]] = []
    kernel.dispatcher.start(
        Call(name, json.dumps(input).encode(), principal, lambda body, error: answers.append((body, error)))
    )
    ((body, error),) = answers
    if error is not None:
        raise error
    return json.loads(body or b"null")


def kept(kernel: Kernel) -> int:
    return int(kernel.store.writer.connection.execute("SELECT count(*) FROM idempotency").fetchone()[0])


def test_the_same_call_gets_its_first_answer_and_writes_nothing(kernel: Kernel) -> None:
    first = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    said = events(kernel)
    assert call(kernel, "shelf.items.create", title="a", idempotency_key="k") == first
    assert events(kernel) == said
    assert len(call(kernel, "shelf.items.list")["items"]) == 1


def test_a_key_is_kept_for_24_hours_and_not_longer(kernel: Kernel, clock: FakeClock) -> None:
    first = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    clock.advance(DAY)
    assert call(kernel, "shelf.items.create", title="a", idempotency_key="k") == first
    clock.advance(0.001)
    second = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    assert second["id"] != first["id"]
    clock.advance(DAY)
    assert call(kernel, "shelf.items.create", title="a", idempotency_key="k") == second
    assert kept(kernel) == 1


def test_a_key_over_its_time_may_stand_for_another_call_and_is_taken_away(kernel: Kernel, clock: FakeClock) -> None:
    call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    call(kernel, "shelf.items.create", title="a", idempotency_key="other")
    clock.advance(DAY + 1)
    assert call(kernel, "shelf.items.create", title="b", idempotency_key="k")["title"] == "b"
    assert kept(kernel) == 1


def test_a_clock_set_back_does_not_let_a_call_run_twice(kernel: Kernel, clock: FakeClock) -> None:
    first = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    clock.advance(-3 * DAY)
    assert call(kernel, "shelf.items.create", title="a", idempotency_key="k") == first


def test_each_actor_has_keys_of_its_own(kernel: Kernel) -> None:
    agent = Principal(actor="agent:claude", owner=False)
    first = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    second = call(kernel, "shelf.items.create", agent, title="b", idempotency_key="k")
    assert (first["title"], second["title"]) == ("a", "b")
    assert call(kernel, "shelf.items.create", agent, title="b", idempotency_key="k") == second


def test_each_workspace_has_keys_of_its_own(kernel: Kernel) -> None:
    here, there = Principal(workspace="w1"), Principal(workspace="w2")
    first = call(kernel, "shelf.items.create", here, title="a", idempotency_key="k")
    second = call(kernel, "shelf.items.create", there, title="a", idempotency_key="k")
    assert (first["workspace_id"], second["workspace_id"]) == ("w1", "w2")
    assert call(kernel, "shelf.items.create", here, title="a", idempotency_key="k") == first
    assert call(kernel, "shelf.items.create", there, title="a", idempotency_key="k") == second


@pytest.mark.parametrize("change", [{"title": "b"}, {"size": 1}, {"if_rev": 1}])
def test_another_input_under_the_same_key_is_a_conflict(kernel: Kernel, change: dict[str, Any]) -> None:
    call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    with pytest.raises(Conflict) as caught:
        call(kernel, "shelf.items.create", **{"title": "a", "idempotency_key": "k", **change})
    assert caught.value.field == "/idempotency_key"
    assert caught.value.data == {"operation": "shelf.items.create"}
    assert len(call(kernel, "shelf.items.list")["items"]) == 1


def test_another_operation_under_the_same_key_is_a_conflict_that_names_the_first(kernel: Kernel) -> None:
    item = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    with pytest.raises(Conflict) as caught:
        call(kernel, "shelf.items.delete", id=item["id"], idempotency_key="k")
    assert caught.value.data == {"operation": "shelf.items.create"}
    assert call(kernel, "shelf.items.get", id=item["id"]) == item


def test_the_same_input_may_be_written_down_otherwise(kernel: Kernel) -> None:
    first = call(kernel, "shelf.items.create", title="a", size=3, idempotency_key="k")
    assert call(kernel, "shelf.items.create", idempotency_key="k", size=3, title="a") == first


def test_a_repeated_call_is_not_held_to_a_rev_that_it_raised_itself(kernel: Kernel) -> None:
    item = call(kernel, "shelf.items.create", title="a")
    change = {"id": item["id"], "title": "b", "if_rev": 1, "idempotency_key": "k"}
    first = call(kernel, "shelf.items.update", **change)
    assert first["rev"] == 2
    assert call(kernel, "shelf.items.update", **change) == first
    with pytest.raises(Stale):
        call(kernel, "shelf.items.update", **{**change, "idempotency_key": "another"})


def test_a_stale_call_is_not_remembered(kernel: Kernel) -> None:
    item = call(kernel, "shelf.items.create", title="a")
    with pytest.raises(Stale):
        call(kernel, "shelf.items.update", id=item["id"], title="b", if_rev=7, idempotency_key="k")
    assert kept(kernel) == 0
    changed = call(kernel, "shelf.items.update", id=item["id"], title="b", if_rev=1, idempotency_key="k")
    assert changed["rev"] == 2


def test_a_failure_is_not_remembered(kernel: Kernel) -> None:
    with pytest.raises(Invalid):
        call(kernel, "shelf.items.create", title="forbidden", idempotency_key="k")
    item = call(kernel, "shelf.items.create", title="a", idempotency_key="k")
    with pytest.raises(Error) as caught:
        call(kernel, "shelf.items.lift", id=item["id"], fail=True, idempotency_key="l")
    assert caught.value.kind == "broken"
    assert call(kernel, "shelf.items.lift", id=item["id"], idempotency_key="l")["size"] == 1
    assert kept(kernel) == 2
