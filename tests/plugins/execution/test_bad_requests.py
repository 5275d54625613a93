"""What cannot be asked of a run, or of what waits for a person, is refused, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from coder_local.api import Conflict, Invalid, NotFound, Refused
from coder_plugins.execution import domain as execution
from coder_plugins.planning import domain as planning

from . import world as worlds
from .bench import Bench, step, work, wrong


@pytest.fixture
def plugins() -> list[Any]:
    return [execution, worlds.world, planning]


async def test_steps_that_are_not_those_that_were_approved(bench: Bench) -> None:
    approved = bench.call("execution.check", steps=[work("a")])["hash"]
    error = bench.refused(work("a", output="changed"), approved_hash=approved)
    wrong(error, Refused, "/approved_hash", "not the steps that were approved", "approved as they are now")
    assert bench.status(await bench.finish(work("a"), approved_hash=approved)) == "succeeded"


async def test_an_approval_of_something_else(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "do it?", "shown": {"rm": "x"}}))
    wait = bench.waits(id)["ok"]
    with pytest.raises(Refused) as caught:
        bench.call("execution.approvals.approve", id=wait["id"], shown_hash="0" * 64)
    wrong(caught.value, Refused, "/shown_hash", "not what was shown", "look at it as it is now")
    assert bench.waits(id)["ok"] == wait
    bench.call("execution.approvals.approve", id=wait["id"], shown_hash=wait["shown_hash"])
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_second_decision(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "do it?"}))
    wait = bench.waits(id)["ok"]["id"]
    bench.call("execution.approvals.reject", id=wait)
    with pytest.raises(Conflict) as caught:
        bench.call("execution.approvals.approve", id=wait)
    assert "decided already: reject" in caught.value.message
    assert (caught.value.data["decision"], caught.value.data["by"]) == ("reject", "user")
    assert bench.status(id) == "failed"


async def test_a_choice_that_is_none(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "where?", "choices": ["left", "right"]}))
    with pytest.raises(Invalid) as caught:
        bench.call("execution.approvals.approve", id=bench.waits(id)["ok"]["id"])
    wrong(caught.value, Invalid, "/choice", "left, right")


async def test_a_default_that_is_no_choice(bench: Bench) -> None:
    wrong(
        bench.refused(step("a", "approval", {"prompt": "?", "default": "up"})), Invalid, "/steps/0/input/default", "up"
    )


async def test_an_approval_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(NotFound) as caught:
        bench.call("execution.approvals.approve", id="nothing")
    wrong(caught.value, NotFound, "/id", "execution.waits.list")


@pytest.mark.parametrize("what", ["signal", "cancel", "pause", "resume"])
async def test_what_may_not_be_asked_of_a_run_that_has_ended(bench: Bench, what: str) -> None:
    id = await bench.finish(work("a"))
    before, more = bench.call("execution.runs.record", id=id), {"name": "x"} if what == "signal" else {}
    with pytest.raises(Conflict) as caught:
        bench.call(f"execution.runs.{what}", id=id, **more)
    assert "this run has succeeded" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("retry or rewind it")
    assert caught.value.data == {"run": id, "status": "succeeded"}
    assert bench.call("execution.runs.record", id=id) == before
    assert bench.rows("signals") == 0


async def test_a_retry_of_a_run_that_goes_on(bench: Bench) -> None:
    id = bench.start(work("a", hold=True))
    with pytest.raises(Conflict) as caught:
        bench.call("execution.runs.retry", id=id)
    assert caught.value.hint is not None
    assert "cancel it first" in caught.value.hint


async def test_a_retry_or_rewind_from_a_step_that_is_none(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=1))
    with pytest.raises(NotFound) as caught:
        bench.call("execution.runs.retry", id=id, source="b")
    wrong(caught.value, NotFound, "/source", "it has a")
    with pytest.raises(NotFound) as caught:
        bench.call("execution.runs.rewind", id=id, step="b")
    wrong(caught.value, NotFound, "/step", "it has a")
    with pytest.raises(Invalid) as given:
        bench.call("execution.runs.retry", id=id, steps=[work("a")])
    wrong(given.value, Invalid, "/steps", "definition latest")
    with pytest.raises(Invalid) as given:
        bench.call("execution.runs.retry", id=id, definition="latest")
    wrong(given.value, Invalid, "/steps", "give the steps")


@pytest.mark.parametrize("name", ["get", "record", "cancel", "pause", "resume", "retry", "definition"])
async def test_a_run_that_is_not_there(bench: Bench, name: str) -> None:
    with pytest.raises(NotFound):
        bench.call(f"execution.runs.{name}", id="nothing")
