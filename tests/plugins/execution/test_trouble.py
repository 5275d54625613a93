"""What goes wrong beside a step is no failure of the step: a full disk, a turn that fails, a kind that is odd."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest

from coder_local.api import Locked
from coder_plugins.execution.engine import attempt, jobs, turn
from coder_plugins.execution.engine import engine as engines
from coder_plugins.execution.machine import attempts

from .bench import Bench, step, work


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BACK_OFF", (0.01,))


def failing(function: Any, error: Exception, times: int) -> tuple[Callable[..., Any], list[int]]:
    """Return a function that fails some times before it does what it should, and a list that counts its calls."""
    calls: list[int] = []

    def inner(*args: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return function(*args)

    return inner, calls


async def test_a_turn_that_fails_takes_no_result_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    claim, calls = failing(turn._claim, RuntimeError("some other run"), 4)
    monkeypatch.setattr(turn, "_claim", claim)
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"
    assert len(calls) > 4
    assert [each["state"] for each in bench.attempts(id, "a")] == ["done"]


async def test_a_disk_that_is_full_before_an_effect(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, calls = failing(attempts.prepared, Locked("the disk is full"), 2)
    monkeypatch.setattr(attempts, "prepared", prepared)
    id = await bench.finish(step("e", "file_edit", {"path": "x", "content": "y"}))
    assert bench.statuses(id) == {"e": "succeeded"}
    assert len(calls) == 3
    assert (bench.folder / "x").read_text() == "y"


async def test_facts_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, _ = failing(attempts.prepared, RuntimeError("too odd"), 4)  # two turns, each made anew
    monkeypatch.setattr(attempts, "prepared", prepared)
    id = await bench.finish(step("e", "file_edit", {"path": "x", "content": "y"}))
    assert bench.steps(id)["e"]["error"]["message"] == "RuntimeError: too odd"
    assert not (bench.folder / "x").exists()


async def test_a_disk_that_is_full_for_a_large_output(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = failing(attempt.put, OSError(errno.ENOSPC, "full"), 2)
    monkeypatch.setattr(attempt, "put", put)
    monkeypatch.setattr(attempt, "AGAIN_S", 0.01)
    id = await bench.finish(work("a", size=2_000_000))
    assert bench.statuses(id) == {"a": "succeeded"}
    assert bench.steps(id)["a"]["artifact"]
    assert (len(calls), bench.world.begun) == (3, ["a"])


async def test_a_kind_that_answers_with_what_is_no_json(bench: Bench) -> None:
    id = await bench.finish(work("a", odd=True, retry={"max": 3, "first": "PT0S"}))
    assert bench.steps(id)["a"]["error"]["word"] == "output"
    assert bench.world.begun == ["a"], "it was done, and is not done again"


async def test_a_kind_that_gives_up_by_itself(bench: Bench) -> None:
    id = await bench.finish(work("a", gives_up=True), work("b", "a"))
    assert (bench.run(id)["status"], bench.run(id)["error"]["word"]) == ("failed", "stopped")
    assert bench.statuses(id) == {"a": "failed", "b": "skipped"}


async def test_a_run_tells_that_nothing_can_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs._engines, bench.ctx.folder, bench.engine)
    id = bench.start(work("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    end, calls = failing(attempts.end, Locked("the disk is full"), 3)
    monkeypatch.setattr(attempts, "end", end)
    bench.world.let_go()
    while not calls:
        await asyncio.sleep(0)
    while (found := bench.call("execution.runs.get", id=id))["trouble"] is None and len(calls) < 3:
        await asyncio.sleep(0)
    assert found["trouble"] == "the disk is full"
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.call("execution.runs.get", id=id)["trouble"] is None
