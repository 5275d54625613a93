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
