"""Operations that are done in the turn that claims them: intent, effect and result are one commit."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest

from coder_local._daemon.core.changes import declare
from coder_local.api import Locked
from coder_plugins.execution import domain as execution
from coder_plugins.execution.engine import turn as turns
from coder_plugins.execution.engine.engine import Engine
from coder_plugins.execution.machine import attempts

from . import world as worlds
from .bench import Bench, operation, work
from .world import State


@pytest.fixture
def plugins() -> list[Any]:
    return [execution, worlds.world, declare()]


FAN = [operation("all", "world.add", text="${{ item }}", more={"foreach": ["a", "b", "c", "d", "e"]})]


def commits(bench: Bench, id: str) -> int:
    """Return how many commits have moved a run, the one that made it left out."""
    return bench.run(id)["moves"] - 1


async def test_one_commit_for_one_operation_and_one_for_each_that_follows(bench: Bench) -> None:
    id = await bench.finish(operation("a", "world.add", text="a"), operation("b", "world.add", "a", text="b"))
    assert (commits(bench, id), bench.world.calls) == (2, ["a", "b"])
    assert [each["state"] for each in bench.attempts(id, "a")] == ["done"]
    assert bench.events("step.started", "step.finished") == ["step.started", "step.finished"] * 2


async def test_after_a_crash_its_intent_is_on_disk_before_it_and_after_an_orderly_stop_it_is_not(bench: Bench) -> None:
    await bench.crash()
    await bench.restart()
    assert commits(bench, await bench.finish(operation("a", "world.add", text="a"))) == 2
    await bench.engine.stop()
    await bench.restart()
    assert commits(bench, await bench.finish(operation("a", "world.add", text="a"))) == 1


async def test_what_there_was_no_time_for_is_done_in_the_next_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BUDGET", -1.0)
    id = await bench.finish(*FAN)
    assert bench.world.calls == list("abcde")
    assert commits(bench, id) == 5


async def test_one_that_fails_takes_back_only_itself(bench: Bench) -> None:
    id = await bench.finish(
        operation("a", "world.add", text="a"), operation("b", "world.add", text="b", fails=True),
        operation("c", "world.add", text="c"),
    )  # fmt: skip
    assert bench.statuses(id) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert sorted(each["text"] for each in bench.call("world.things.list")["items"]) == ["a", "c"]


async def test_a_turn_that_fails_is_made_anew_with_intents_before_the_effects(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = attempts.end, [RuntimeError("once")]

    def end(*args: Any) -> None:
        if left:
            raise left.pop()
        real(*args)

    monkeypatch.setattr(attempts, "end", end)
    id = await bench.finish(*FAN)
    assert set(bench.statuses(id).values()) == {"succeeded"}
    assert sorted(each["text"] for each in bench.call("world.things.list")["items"]) == list("abcde")
    assert commits(bench, id) == 2, "the intents, and then the effects with their results"


@pytest.mark.parametrize("name", ["execution.start", "world.first_add"])
async def test_operations_that_move_runs_wait_until_the_turn_s_own_moves_are_written(bench: Bench, name: str) -> None:
    given = {"steps": [operation("x", "world.add", text="x")]} if name == "execution.start" else {}
    id = await bench.finish(operation("start", name, **given), operation("add", "world.add", text="a"))
    output = bench.steps(id)["start"]["output"]
    child = output["run"]["id"] if name == "execution.start" else output
    await bench.until(child)
    assert bench.run(child)["parent_run"] == id
    texts = [each["text"] for each in bench.call("world.things.list")["items"]]
    assert sorted(texts) == sorted({"a", "x", *(["new"] if name == "world.first_add" else [])}), "each of them once"
    assert bench.statuses(id) == {"start": "succeeded", "add": "succeeded"}


async def test_operations_that_look_at_runs_see_what_the_turn_has_moved(bench: Bench) -> None:
    id = await bench.finish(
        {"key": "c", "kind": "sub_run", "input": {"steps": [work("w", fails=1)]}, "allow_failure": True},
        operation("r", "execution.runs.retry", "c", id="${{ steps.c.error.data.run }}"),
    )
    assert bench.statuses(id)["r"] == "succeeded", bench.steps(id)["r"]["error"]


async def test_undo_takes_back_what_the_step_before_it_did(bench: Bench) -> None:
    bench.call("world.add", text="old")
    await bench.finish(operation("s", "world.first_add"), operation("u", "changes.undo", "s"))
    texts = {each["text"] for each in bench.call("world.things.list")["items"]}
    assert "old" in texts
    assert "new" not in texts


async def test_those_that_are_put_off_count_as_time_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BUDGET", -1.0)
    told: list[int] = []
    real = turns._apply

    def apply(*args: Any, **more: Any) -> Any:
        ended, left = real(*args, **more)
        told.append(len(ended))
        return ended, left

    monkeypatch.setattr(turns, "_apply", apply)
    await bench.finish(*(operation(f"s{n}", "world.first_add") for n in range(4)))
    assert max(told) == 1


async def test_a_start_that_fails_after_a_crash_does_not_make_it_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.crash()
    engine = Engine(bench.ctx)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_judge", AsyncMock(side_effect=Locked("the disk is full")))
        with pytest.raises(Locked):
            await engine.start()
        await engine.stop()
    await bench.restart()
    assert commits(bench, await bench.finish(operation("a", "world.add", text="a"))) == 2


async def test_what_a_turn_claims_while_the_engine_stops_has_not_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, claimed, go = bench.engine._write_turn, asyncio.Event(), asyncio.Event()

    async def slow(given: Any) -> Any:
        found = await real(given)
        if found.jobs:
            claimed.set()
            await go.wait()
        return found

    monkeypatch.setattr(bench.engine, "_write_turn", slow)
    id = bench.start(work("a", effect="once"))
    await claimed.wait()
    stopping = asyncio.ensure_future(bench.engine.stop())
    await asyncio.sleep(0.05)
    go.set()
    await stopping
    assert bench.world.begun == []
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.begun == ["a"]


async def test_an_operation_that_cancels_its_own_run(bench: Bench, world: State) -> None:
    id = await bench.finish(
        operation("end", "execution.runs.cancel", id="${{ run.id }}"), operation("after", "world.add", "end", text="a")
    )
    assert bench.status(id) == "cancelled"
    assert bench.statuses(id)["after"] == "cancelled"
    assert world.calls == []


async def test_the_daemon_is_kept_between_two_of_its_turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    hold, kept = bench.engine._hold, list[tuple[bool, bool]]()

    def look() -> None:
        hold()
        kept.append((bench.status(id) == "running", bench.engine._at_work is not None))

    monkeypatch.setattr(bench.engine, "_hold", look)
    id = bench.start(*(operation(f"s{n}", "world.add", f"s{n - 1}" if n else "", text=str(n)) for n in range(4)))
    await bench.until(id)
    assert kept
    assert all(running == held for running, held in kept)
