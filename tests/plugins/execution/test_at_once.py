"""Operations that are done in the turn that claims them: intent, effect and result are one commit."""

from __future__ import annotations

from typing import Any

import pytest

from coder_plugins.execution.engine import turn as turns
from coder_plugins.execution.machine import attempts

from .bench import Bench, operation
from .world import State

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


async def test_operations_that_move_runs_wait_until_the_turn_s_own_moves_are_written(bench: Bench) -> None:
    begun = {"operation": "execution.start", "input": {"steps": [operation("x", "world.add", text="x")]}}
    id = await bench.finish(
        {"key": "start", "kind": "operation", "input": begun},
        operation("add", "world.add", text="a"),
    )
    child = bench.steps(id)["start"]["output"]["run"]["id"]
    await bench.until(child)
    assert bench.run(child)["parent_run"] == id
    assert bench.world.calls == ["a", "x"]
    assert bench.statuses(id) == {"start": "succeeded", "add": "succeeded"}


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
