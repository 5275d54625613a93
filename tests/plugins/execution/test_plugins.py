"""Plugins that come and go while runs need them: a run is blocked, and not failed, until they are back."""

from __future__ import annotations

import pytest

from coder_local._registry.plugins import Status

from .bench import Bench, operation, step, work
from .world import Work


async def test_a_kind_that_comes_back_lets_go_what_it_blocked(bench: Bench) -> None:
    kinds = list(bench.world.kinds)
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    bench.world.kinds.clear()
    bench.engine.look_at_plugins()
    await bench.turn()
    bench.world.let_go()
    assert (await bench.until(id, "blocked"))["reason"] == "no plugin offers steps of kind work"
    assert bench.statuses(id) == {"a": "succeeded", "b": "pending"}
    bench.world.kinds.extend(kinds)
    bench.engine.look_at_plugins()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_an_operation_whose_plugin_is_gone_blocks_its_run(bench: Bench) -> None:
    id = bench.start(step("go", "signal", {"name": "go"}), operation("a", "world.add", "go", text="x"))
    plugin = bench.box.kernel.registry.plugins["world"]
    registry = bench.box.kernel.registry
    registry.stop(plugin, Status.DISABLED, "a person said so")
    bench.call("execution.runs.signal", id=id, name="go")
    assert "world.add is not there" in (await bench.until(id, "blocked"))["reason"]
    assert bench.statuses(id)["a"] == "pending"
    assert bench.world.calls == []


@pytest.mark.parametrize("effect", ["checkable", "adoptable"])
async def test_what_only_its_kind_can_judge_waits_for_it(bench: Bench, effect: str) -> None:
    kinds = list(bench.world.kinds)
    id = bench.start(work("a", hold=True, effect=effect), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.world.ended.clear()
    bench.world.ended.append("a")  # it came to its end, which the kind can see
    bench.world.kinds.clear()
    await bench.restart()
    assert "needed to tell what became of a" in (await bench.until(id, "blocked"))["reason"]
    assert bench.waits(id) == {}, "nobody is asked"
    await bench.crash()
    await bench.restart()
    bench.engine.look_at_plugins()
    await bench.turn()
    assert (bench.status(id), bench.statuses(id)["a"]) == ("blocked", "pending")
    bench.world.kinds.extend(kinds)
    bench.engine.look_at_plugins()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.steps(id)["a"]["output"] == "it was done"
    assert bench.world.begun == ["a", "b"]
    assert bench.steps(id)["a"]["recoveries"] == 1


async def test_a_run_that_waits_for_a_kind_to_judge_a_step_is_cancelled(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="checkable"), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.world.kinds.clear()
    await bench.restart()
    await bench.until(id, "blocked")
    bench.call("execution.runs.cancel", id=id)
    assert (await bench.until(id))["status"] == "cancelled"
    assert [each["state"] for each in bench.attempts(id, "a")] == ["unknown"]


async def test_a_kind_that_means_something_else_blocks_the_runs_from_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    monkeypatch.setattr(Work, "revision", 2)
    bench.world.let_go()
    assert "mean something else now" in (await bench.until(id, "blocked"))["reason"]
    bench.call("execution.runs.cancel", id=id)
    await bench.until(id)
    new = bench.call("execution.runs.retry", id=id)
    assert new["reused"] == ["a"]
    assert (await bench.until(new["run"]["id"]))["status"] == "succeeded"
