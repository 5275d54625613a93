"""A fault inside the engine stops the run that it concerns, and no other; the run goes on when it is resumed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from coder_local._registry.context import OutsideContext
from coder_local._registry.hearing import Hearing
from coder_local._store.feed import Reset
from coder_local.api import Broken
from coder_plugins.execution.engine import engine as engines
from coder_plugins.execution.machine import attempts, fanout, live, settling, waiting
from coder_plugins.execution.machine.live import Live, Moves

from .bench import Bench, step, work
from .world import Work


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BACK_OFF", (0.01,))


class Trap:
    """A function of the state machine that fails at one run, until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.run: str | None = None
        self.calls = 0
        self._real: Callable[..., Any] = getattr(module, name)
        monkeypatch.setattr(module, name, self)

    def __call__(self, moves: Moves, of: Any, *rest: Any, **more: Any) -> Any:
        run = of.run.id if isinstance(of, Live) else of if isinstance(of, str) else of.run
        if run == self.run:
            self.calls += 1
            raise ZeroDivisionError("oh")
        return self._real(moves, of, *rest, **more)

    @staticmethod
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("oh")


async def others_go_on(bench: Bench) -> None:
    assert bench.status(await bench.finish(work("x"), work("y", "x"))) == "succeeded"


async def test_settling_that_fails_blocks_its_run_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    id = bench.start(work("a", hold=True), work("b", "a"))
    other = bench.start(work("c", hold=True), work("d", "c"))
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    trap.run = id
    with caplog.at_level(logging.ERROR, "coder_local.execution"):
        bench.world.let_go()
        run = await bench.until(id, "blocked")
    assert run["reason"] == "the engine failed at this run, and left it as it was: ZeroDivisionError: oh"
    (told,) = [each for each in caplog.records if id in each.getMessage()]
    assert told.exc_info is not None
    assert (await bench.until(other))["status"] == "succeeded"
    await bench.until_step(id, "a", "succeeded")
    assert bench.statuses(id) == {"a": "succeeded", "b": "pending"}, "a result is not lost with the run"
    await others_go_on(bench)
    turns = bench.engine.turns
    await bench.turn()
    assert bench.engine.turns < turns + 10, "nothing is tried again and again"

    with pytest.raises(Broken):
        bench.call("execution.runs.resume", id=id)
    assert bench.status(id) == "blocked"
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.begun.count("a") == 1
    assert bench.run(id)["reason"] is None


async def test_a_kind_that_fails_where_the_machine_asks_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(self: Work) -> int:
        raise ZeroDivisionError("oh")

    id = bench.start(work("a", hold=True), work("b", "a"))
    other = bench.start(step("t", "timer", {"duration": "PT1H"}))
    await bench.world.until(lambda: bench.world.begun)
    with monkeypatch.context() as patch:
        patch.setattr(Work, "revision", property(odd))
        bench.world.let_go()
        await bench.until(id, "blocked")
        with pytest.raises(Broken):
            bench.call("execution.runs.resume", id=id)  # whoever moves a run is told himself
        await bench.advance(3600)
        assert (await bench.until(other))["status"] == "succeeded"
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_an_expansion_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, fanout, "expand")
    list_ = work("list", output=[1, 2])
    id = bench.start(list_, work("f", "list", foreach="${{ steps.list.output }}"))
    trap.run = id
    assert "ZeroDivisionError" in (await bench.until(id, "blocked"))["reason"]
    await others_go_on(bench)
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert len(bench.statuses(id)) == 4


async def test_a_claim_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, attempts, "claim")
    id = trap.run = bench.start(work("a"))
    await bench.until(id, "blocked")
    assert bench.statuses(id) == {"a": "ready"}
    await others_go_on(bench)
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_wait_that_cannot_be_fired(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, waiting, "fire")
    id = trap.run = bench.start(step("t", "timer", {"duration": "PT1H"}))
    other = bench.start(step("t", "timer", {"duration": "PT1H"}))
    await bench.advance(3600)
    await bench.until(id, "blocked")
    assert (await bench.until(other))["status"] == "succeeded"
    calls = trap.calls
    await bench.turn()
    assert trap.calls == calls, "it is left alone"
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_result_that_cannot_be_written_nor_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    end, broken = attempts.end, True

    def odd(moves: Moves, ended: attempts.Ended) -> None:
        if broken and ended.run == id:
            raise ZeroDivisionError("oh")
        end(moves, ended)

    id = bench.start(work("a", hold=True, output=7))
    await bench.world.until(lambda: bench.world.begun)
    monkeypatch.setattr(attempts, "end", odd)
    bench.world.let_go()
    await bench.until(id, "blocked")
    await others_go_on(bench)
    broken = False
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.steps(id)["a"]["output"] == 7
    assert bench.world.begun.count("a") == 1


async def test_a_start_that_fails_at_one_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    id, other = bench.start(work("a", hold=True, effect="repeatable")), bench.start(work("b", effect="repeatable"))
    await bench.world.until(lambda: "a" in bench.world.begun)
    await bench.crash()
    trap = Trap(monkeypatch, attempts, "recover")
    trap.run = id
    await bench.restart()
    await bench.until(other)
    assert bench.status(id) == "blocked"
    bench.world.let_go()
    await others_go_on(bench)
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert [each["state"] for each in bench.attempts(id, "a")] == ["lost", "done"]


async def test_a_new_start_tries_again_what_was_set_aside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, attempts, "claim")
    id = trap.run = bench.start(work("a"))
    await bench.until(id, "blocked")
    await bench.crash()
    await bench.restart()
    await bench.turn()
    assert (bench.status(id), bench.run(id)["faulted"]) == ("blocked", True)
    await bench.crash()
    trap.run = None
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_plugin_that_changes_has_it_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    trap.run = id
    bench.world.let_go()
    await bench.until(id, "blocked")
    bench.engine.look_at_plugins()
    await bench.turn()
    assert bench.run(id)["faulted"]
    trap.run = None
    bench.engine.look_at_plugins()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_one_set_aside_in_the_queue_begins_in_its_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    first = bench.start(work("a", hold=True), concurrency_key="k")
    await bench.world.until(lambda: bench.world.begun)
    second = bench.start(work("b"), concurrency_key="k")
    trap.run = second
    bench.world.let_go()
    await bench.until(second, "blocked")
    await bench.until(first)
    trap.run = None
    third = bench.start(work("c", hold=True), concurrency_key="k")
    bench.call("execution.runs.resume", id=second)
    await bench.until(second)
    bench.world.let_go()
    assert bench.run(second)["started_at"] is not None
    assert (await bench.until(third))["status"] == "succeeded"


async def test_one_set_aside_before_its_turn_came_holds_nobody_up_in_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    first = bench.start(work("a", hold=True), concurrency_key="k")
    await bench.world.until(lambda: bench.world.begun)
    second = bench.start(work("b"), concurrency_key="k")
    trap.run = second
    bench.world.let_go()
    await bench.until(second, "blocked")
    await bench.until(first)
    third = bench.start(work("c"), concurrency_key="k")
    assert (await bench.until(third))["status"] == "succeeded"
    assert bench.status(second) == "blocked"
    trap.run = None
    bench.call("execution.runs.resume", id=second)
    assert (await bench.until(second))["status"] == "succeeded"


async def test_one_that_is_set_aside_holds_nobody_up_at_a_resource(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    holder = bench.start(work("a", hold=True, resources=["port"]))
    await bench.world.until(lambda: bench.world.begun)
    id = bench.start(work("b", resources=["port"]), work("c", hold=True), work("d", "c"))
    await bench.until_step(id, "b", "waiting")
    last = bench.start(work("e", resources=["port"]))
    await bench.until_step(last, "e", "waiting")
    trap.run = id
    bench.world.let_go("c")
    await bench.until(id, "blocked")
    bench.world.let_go()
    assert (await bench.until(last))["status"] == (await bench.until(holder))["status"] == "succeeded"
    trap.run = None
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_one_that_is_tried_again_by_itself_takes_the_resource_that_is_free(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    holder = bench.start(work("a", hold=True, resources=["port"]))
    await bench.world.until(lambda: bench.world.begun)
    id = bench.start(work("b", resources=["port"]), work("c", hold=True), work("d", "c"))
    await bench.until_step(id, "b", "waiting")
    trap.run = id
    bench.world.let_go("c")
    await bench.until(id, "blocked")
    bench.world.let_go()
    await bench.until(holder)
    trap.run = None
    bench.engine.look_at_plugins()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_one_that_is_paused_and_tried_again_by_itself_stays_paused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = Trap(monkeypatch, settling, "_settle")
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.pause", id=id)
    trap.run = id
    bench.world.let_go()
    await bench.until(id, "blocked")
    trap.run = None
    bench.engine.look_at_plugins()
    await bench.until(id, "paused")
    assert bench.statuses(id) == {"a": "succeeded", "b": "pending"}
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


class Unloadable:
    """Makes one run one that cannot be loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: str) -> None:
        load = Moves.load

        def odd(moves: Moves, id: str) -> Live:
            if id == run:
                raise ZeroDivisionError("oh")
            return load(moves, id)

        monkeypatch.setattr(Moves, "load", odd)


async def test_a_run_below_that_cannot_be_loaded_when_its_time_is_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = bench.start(step("s", "sub_run", {"steps": [work("x", hold=True)]}, deadline="PT1H"))
    await bench.world.until(lambda: bench.world.begun)
    with monkeypatch.context() as patch:
        Unloadable(patch, bench.waits(id)["s"]["name"])
        bench.box.clock.advance(3600)
        bench.engine.wake()
        await bench.until(id, "blocked")
        await others_go_on(bench)
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "failed"


async def test_a_cancelled_run_that_cannot_be_loaded_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    id = bench.start(work("x", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.cancel", id=id)
    with monkeypatch.context() as patch:
        Unloadable(patch, id)
        await others_go_on(bench)
        await bench.world.until(lambda: not bench.world.now["work"])
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "cancelled"


async def test_a_start_that_fails_leaves_no_listener_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = bench.box.kernel.dispatcher.feed
    assert feed is not None
    await bench.crash()
    before = len(feed)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(engines.turns, "begin", Trap.fail)
        await bench.restart()
    assert len(feed) == before
    await bench.restart()
    await others_go_on(bench)


async def test_kinds_that_cannot_be_asked_for_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin may offer what is no kind, and then be mended or disabled."""
    asked, often = 0, asyncio.Event()

    def odd(source: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 4:
            often.set()
        raise AttributeError("no name")

    id = bench.start(work("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    with monkeypatch.context() as patch:
        patch.setattr(engines, "kinds_of", odd)
        bench.world.let_go()
        async with asyncio.timeout(10):
            await often.wait()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_run_that_was_set_aside_is_cancelled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Trap(monkeypatch, fanout, "expand")
    id = bench.start(work("a"), work("f", "a", foreach=[1]), work("g", hold=True))
    trap.run = id
    await bench.until(id, "blocked")
    bench.call("execution.runs.cancel", id=id)
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.statuses(id) == {"a": "succeeded", "f": "cancelled", "g": "cancelled"}


async def test_events_that_were_missed_wake_the_engine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Hearing] = []
    subscribe = OutsideContext.subscribe

    def noted(self: Any, *types: str, **more: Any) -> Any:
        found = subscribe(self, *types, **more)
        if "execution.signal.received" in types:
            made.append(found)
        return found

    monkeypatch.setattr(OutsideContext, "subscribe", noted)
    await bench.crash()
    await bench.restart()
    feed = bench.box.kernel.dispatcher.feed
    assert feed is not None
    made[0]._on_reset(Reset("the log was trimmed", feed._bounds()))
    waits = bench.start(step("s", "signal", {"name": "go"}), work("a", "s"))
    await bench.until(waits, "waiting")
    bench.call("execution.runs.signal", id=waits, name="go")
    assert (await bench.until(waits))["status"] == "succeeded"
    assert len(made) == 2
    assert not bench.engine._tasks[0].done()


async def test_a_run_that_cannot_be_loaded(bench: Bench) -> None:
    """Its steps are gone: a row of another version, or of a database that was mended by hand."""
    await bench.crash()
    id = bench.start(work("a"))
    live.forget()
    connection = bench.box.kernel.store.writer.connection
    kept = connection.execute("SELECT definition FROM execution_runs").fetchone()[0]
    connection.execute("UPDATE execution_runs SET definition = 'gone'")
    await bench.restart()
    assert "the steps that this run is held to are gone" in (await bench.until(id, "blocked"))["reason"]
    await others_go_on(bench)
    connection.execute("UPDATE execution_runs SET definition = ? WHERE id = ?", (kept, id))
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
