"""Pause, resume and cancel, and what a crash leaves to be decided."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Conflict, Invalid
from coder_plugins.execution.engine import engine as engines
from coder_plugins.execution.engine import turn as turns
from coder_plugins.execution.kinds import fileedit

from .bench import Bench, operation, step, work

# -- pause ------------------------------------------------------------------------------------------------------------


async def test_a_pause_lets_end_what_runs_and_begins_no_more(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), work("b", "a"), work("c"))
    await bench.until_step(id, "c", "succeeded")
    bench.call("execution.runs.pause", id=id)
    assert bench.status(id) == "running", "it is not paused while a step still runs"
    bench.world.let_go()
    await bench.until(id, "paused")
    assert bench.statuses(id) == {"a": "succeeded", "b": "pending", "c": "succeeded"}
    await bench.turn()
    assert "b" not in bench.world.begun
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.events("run.paused", "run.resumed") == ["run.paused", "run.resumed"]


async def test_waits_go_on_through_a_pause(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "PT1H"}), work("b", "t"))
    bench.call("execution.runs.pause", id=id)
    assert bench.status(id) == "paused"
    await bench.advance(3600)
    assert bench.statuses(id) == {"t": "succeeded", "b": "pending"}
    bench.call("execution.runs.resume", id=id)
    await bench.until(id)


async def test_a_pause_survives_a_crash(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="repeatable"), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.pause", id=id)
    await bench.crash()
    await bench.restart()
    await bench.turn()
    assert bench.status(id) == "paused"
    assert bench.world.begun == ["a"]
    bench.world.let_go()
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_pause_twice_is_one(bench: Bench) -> None:
    id = bench.start(step("w", "signal", {"name": "go"}))
    bench.call("execution.runs.pause", id=id)
    bench.call("execution.runs.pause", id=id)
    assert bench.events("run.paused") == ["run.paused"]


async def test_steps_of_a_fan_out_are_held_by_a_pause_too(bench: Bench) -> None:
    id = bench.start(work("f", foreach=[0, 1, 2], max_parallel=1, hold=True), work("after", "f"))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.pause", id=id)
    bench.world.let_go()
    await bench.until(id, "paused")
    assert bench.world.begun == ["f[0]"]
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.begun == ["f[0]", "f[1]", "f[2]", "after"]
    assert bench.world.most["work"] == 1


# -- cancel -----------------------------------------------------------------------------------------------------------


async def test_cancel_stops_what_runs_and_leaves_out_the_rest(bench: Bench) -> None:
    id = bench.start(
        work("a", hold=True), work("b", "a"), step("t", "timer", {"duration": "P1D"}),
        work("clean", "a", run_if="always()"), work("f", foreach=[1, 2], max_parallel=1, hold=True),
    )  # fmt: skip
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    bench.call("execution.runs.cancel", id=id)
    assert bench.status(id) == "cancelling"
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"], run["error"]["message"]) == (
        "cancelled",
        "cancelled",
        "it was cancelled",
    )
    assert set(bench.statuses(id).values()) == {"cancelled"}
    assert bench.world.now["work"] == 0
    assert sorted(bench.world.ended) == ["a", "f[1]"]
    assert bench.waits(id) == {}
    assert [each["state"] for each in bench.attempts(id, "a")] == ["cancelled"]


async def test_cancel_of_a_queued_and_of_a_paused_run(bench: Bench) -> None:
    bench.start(step("w", "signal", {"name": "go"}), concurrency_key="one")
    queued = bench.start(work("a"), concurrency_key="one")
    assert bench.status(queued) == "queued"
    bench.call("execution.runs.cancel", id=queued)
    assert bench.status(queued) == "cancelled"
    paused = bench.start(step("w", "signal", {"name": "go"}))
    bench.call("execution.runs.pause", id=paused)
    bench.call("execution.runs.cancel", id=paused)
    assert bench.status(paused) == "cancelled"


async def test_cancel_survives_a_crash(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="repeatable"), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.call("execution.runs.cancel", id=id)
    await bench.restart()
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.world.begun == ["a"]


async def test_a_second_cancel_says_the_grace_anew(bench: Bench) -> None:
    id = bench.start(work("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.cancel", id=id)
    assert bench.call("execution.runs.cancel", id=id, grace=0.5)["run"]["grace_ms"] == 500
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.events("run.cancelled") == ["run.cancelled"] * 2
    with pytest.raises(Invalid) as caught:
        bench.call("execution.runs.cancel", id=id, grace=-1)
    assert caught.value.field == "/grace"


async def test_a_run_that_is_being_cancelled_cannot_be_paused(bench: Bench) -> None:
    id = bench.start(work("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.cancel", id=id)
    with pytest.raises(Conflict):
        bench.call("execution.runs.pause", id=id)


async def test_a_failure_that_comes_while_it_is_cancelled_is_not_tried_again(bench: Bench) -> None:
    id = bench.start(work("a", fails=9, retry={"max": 9, "first": "PT1H"}))
    await bench.until_step(id, "a", "waiting")
    bench.call("execution.runs.cancel", id=id)
    assert (await bench.until(id))["status"] == "cancelled"
    assert len(bench.attempts(id, "a")) == 1


# -- what a crash leaves ----------------------------------------------------------------------------------------------


async def crashed(bench: Bench, *more: dict[str, Any], **fields: Any) -> str:
    """Return a run whose step `b` was cut off by a crash; the engine runs again."""
    id = bench.start(work("a"), work("b", "a", hold=True, **fields), work("c", "b"), *more)
    await bench.world.until(lambda: "b" in bench.world.begun)
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    return id


async def test_what_nobody_can_know_is_asked(bench: Bench) -> None:
    id = await crashed(bench)
    await bench.until(id, "needs_decision")
    assert bench.world.begun == ["a", "b"]
    assert bench.statuses(id) == {"a": "succeeded", "b": "needs_decision", "c": "pending"}
    asked = bench.waits(id)["b"]
    assert asked["choices"] == ["retry", "done", "skip", "fail"]
    assert (asked["shown"]["step"], asked["shown"]["attempt"]) == ("b", 1)
    assert bench.events("run.resumed", "run.started") == ["run.started", "run.resumed"]
    with pytest.raises(Invalid) as caught:
        bench.call("execution.runs.resume", id=id)
    assert caught.value.field == "/choice"


@pytest.mark.parametrize(
    ("choice", "b", "c", "status"),
    [
        ("retry", "succeeded", "succeeded", "succeeded"),
        ("done", "succeeded", "succeeded", "succeeded"),
        ("skip", "skipped", "skipped", "succeeded"),
        ("fail", "failed", "skipped", "failed"),
    ],
)
async def test_the_choices(bench: Bench, choice: str, b: str, c: str, status: str) -> None:
    id = await crashed(bench)
    await bench.until(id, "needs_decision")
    output = {"by": "hand"} if choice == "done" else None
    bench.call("execution.runs.resume", id=id, step="b", choice=choice, output=output)
    assert (await bench.until(id))["status"] == status
    assert (bench.statuses(id)["b"], bench.statuses(id)["c"]) == (b, c)
    assert bench.world.begun.count("b") == (2 if choice == "retry" else 1)
    if choice == "done":
        assert bench.steps(id)["b"]["output"] == {"by": "hand"}
    if choice == "retry":
        assert len({key for step, _, key in bench.world.seen if step == "b"}) == 1


@pytest.mark.parametrize(
    ("more", "begun", "status"),
    [
        ({"idempotent": True}, 2, "succeeded"),
        ({"on_unknown": "rerun"}, 2, "succeeded"),
        ({"on_unknown": "fail"}, 1, "failed"),
        ({"on_unknown": "assume_done"}, 1, "succeeded"),
    ],
)
async def test_what_the_step_says_is_done(bench: Bench, more: dict[str, Any], begun: int, status: str) -> None:
    id = await crashed(bench, **more)
    assert (await bench.until(id))["status"] == status
    assert bench.world.begun.count("b") == begun
    assert bench.world.begun.count("a") == 1


@pytest.mark.parametrize(("effect", "begun"), [("repeatable", 2), ("keyed", 2), ("checkable", 1), ("adoptable", 1)])
async def test_the_effect_decides(bench: Bench, effect: str, begun: int) -> None:
    id = await crashed(bench, effect=effect)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.begun.count("b") == begun


@pytest.mark.parametrize("more", [{"effect": "repeatable"}, {"effect": "keyed"}, {"idempotent": True}])
async def test_what_was_cut_off_four_times_is_asked_about(bench: Bench, more: dict[str, Any]) -> None:
    id = bench.start(work("a", hold=True, **more))
    for number in range(1, 5):
        await bench.world.until(lambda number=number: bench.world.begun.count("a") == number)
        await bench.crash()
        await bench.restart()
    await bench.until(id, "needs_decision")
    assert "ended 4 times" in bench.waits(id)["a"]["prompt"]
    assert bench.world.begun.count("a") == 4
    bench.call("execution.runs.resume", id=id, step="a", choice="retry")
    await bench.world.until(lambda: bench.world.begun.count("a") == 5)
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_two_that_need_a_decision_are_named(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), work("b", hold=True))
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    await bench.crash()
    await bench.restart()
    await bench.until(id, "needs_decision")
    with pytest.raises(Invalid) as caught:
        bench.call("execution.runs.resume", id=id, choice="skip")
    assert caught.value.field == "/step"
    assert "a, b" in caught.value.message
    bench.call("execution.runs.resume", id=id, step="a", choice="skip")
    assert bench.status(id) == "needs_decision"
    bench.call("execution.runs.resume", id=id, step="b", choice="skip")
    assert bench.status(id) == "succeeded"
    with pytest.raises(Conflict):
        bench.call("execution.runs.resume", id=id, step="b", choice="skip")


async def test_an_operation_is_never_repeated_nor_lost(bench: Bench) -> None:
    id = bench.start(
        work("a"), operation("b", "world.add", "a", text="x"), work("c", "b", hold=True, effect="repeatable")
    )
    await bench.until_step(id, "b", "succeeded")
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    await bench.until(id)
    assert bench.world.calls == ["x"]
    assert len(bench.call("world.things.list")["items"]) == 1


# -- plugins that come and go -----------------------------------------------------------------------------------------


async def test_a_kind_whose_plugin_is_gone_blocks_the_run(bench: Bench) -> None:
    id = bench.start(step("go", "signal", {"name": "go"}), work("a", "go"))
    kinds, bench.world.kinds = bench.world.kinds, []
    bench.call("execution.runs.signal", id=id, name="go")
    run = await bench.until(id, "blocked")
    assert run["reason"] == "no plugin offers steps of kind work"
    assert bench.statuses(id)["a"] == "pending"
    bench.call("execution.runs.resume", id=id)
    assert bench.status(id) == "blocked"
    bench.world.kinds = kinds
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.run(id)["reason"] is None


async def test_a_blocked_run_goes_on_at_a_start_with_the_plugin(bench: Bench) -> None:
    id = bench.start(step("go", "signal", {"name": "go"}), work("a", "go"))
    kinds, bench.world.kinds = bench.world.kinds, []
    bench.call("execution.runs.signal", id=id, name="go")
    await bench.until(id, "blocked")
    await bench.crash()
    await bench.restart()
    await bench.turn()
    assert bench.status(id) == "blocked"
    await bench.crash()
    bench.world.kinds = kinds
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_ready_step_whose_plugin_is_gone_at_the_next_start(bench: Bench) -> None:
    await bench.crash()
    id = bench.start(work("a"))
    assert bench.statuses(id)["a"] == "ready"
    kinds, bench.world.kinds = bench.world.kinds, []
    await bench.restart()
    await bench.until(id, "blocked")
    assert bench.statuses(id)["a"] == "pending"
    await bench.crash()
    bench.world.kinds = kinds
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_step_that_was_cut_off_and_whose_plugin_is_gone(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="repeatable"))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    kinds, bench.world.kinds = bench.world.kinds, []
    await bench.restart()
    await bench.until(id, "blocked")
    bench.world.kinds = kinds
    bench.world.let_go()
    await bench.crash()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_kind_that_is_broken_fails_its_step_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oh")

    kind = type(bench.world.kinds[0])
    for name in ("effect", "run", "prepares"):
        with monkeypatch.context() as patch:
            id = bench.start(step("go", "signal", {"name": "go"}), work("a", "go"))
            patch.setattr(kind, name, broken)
            bench.call("execution.runs.signal", id=id, name="go")
            error = (await bench.until_step(id, "a", "failed"))["error"]
            assert (error["word"], error["message"]) == ("broken", "ZeroDivisionError: oh"), name
    assert bench.status(await bench.finish(work("c"))) == "succeeded", "the engine goes on"


async def test_an_edit_is_carried_to_its_end_when_it_is_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    replace = fileedit.replace

    def slow(path: Path, content: bytes) -> None:
        begun.set()
        go.wait(10)
        replace(path, content)

    monkeypatch.setattr(fileedit, "replace", slow)
    id = bench.start(step("e", "file_edit", {"path": "x", "content": "y"}), work("b", "e"))
    await asyncio.to_thread(begun.wait, 10)
    bench.call("execution.runs.cancel", id=id)
    await bench.turn()
    assert bench.status(id) == "cancelling"
    go.set()
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.statuses(id) == {"e": "succeeded", "b": "cancelled"}
    assert (bench.folder / "x").read_text() == "y"


async def test_a_deadline_does_not_change_how_a_run_is_being_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = bench.start(work("a", compensate={"kind": "work"}), work("b", "a", hold=True), deadline="PT1H")
    await bench.world.until(lambda: "b" in bench.world.begun)
    monkeypatch.setattr(bench.engine.carrying, "stop_run", lambda run, grace_ms: None)  # it takes its time
    bench.call("execution.runs.cancel", id=id, compensate=True)
    await bench.advance(3600)
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.statuses(id)["a'"] == "succeeded"
    assert bench.events("run.cancelled") == ["run.cancelled"]


async def test_a_run_that_was_cancelled_asks_nothing_after_a_crash(bench: Bench) -> None:
    id = bench.start(work("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.call("execution.runs.cancel", id=id)
    await bench.restart()
    assert (await bench.until(id))["status"] == "cancelled"
    assert [each["state"] for each in bench.attempts(id, "a")] == ["unknown"]


async def test_what_ends_well_while_the_engine_stops_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PARK_S", 0.0)
    begun, go = threading.Event(), threading.Event()

    def slow(step: Any, input: Any) -> dict[str, Any]:
        begun.set()
        go.wait(10)
        return {"path": "x"}

    monkeypatch.setattr(fileedit, "_write", slow)
    id = bench.start(step("e", "file_edit", {"path": "x", "content": "y"}))
    await asyncio.to_thread(begun.wait, 10)
    asyncio.get_running_loop().call_later(0.2, go.set)
    await bench.engine.stop()
    assert bench.statuses(id) == {"e": "succeeded"}


async def test_a_second_cancel_only_hastens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    below = [work("a", compensate={"kind": "work"}), work("b", "a", hold=True)]
    id = bench.start(step("s", "sub_run", {"steps": below}), work("x", hold=True))
    await bench.world.until(lambda: {"b", "x"} <= set(bench.world.begun))
    child = bench.waits(id)["s"]["name"]
    monkeypatch.setattr(bench.engine.carrying, "stop_run", lambda run, grace_ms: None)  # it takes its time
    bench.call("execution.runs.cancel", id=child, grace=5, compensate=True)
    bench.call("execution.runs.cancel", id=id, grace=60)
    of = bench.run
    assert (of(child)["grace_ms"], of(child)["compensating"]) == (5_000, True), "less is not more, done is not undone"
    assert (of(id)["grace_ms"], of(id)["compensating"]) == (60_000, False)
    bench.call("execution.runs.cancel", id=id, grace=600)
    assert of(id)["grace_ms"] == 60_000
    bench.call("execution.runs.cancel", id=id, grace=1, compensate=True)
    bench.call("execution.runs.cancel", id=id)
    assert [(of(each)["grace_ms"], of(each)["compensating"]) for each in (id, child)] == [(1_000, True)] * 2
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "cancelled"
    assert bench.statuses(child)["a'"] == "succeeded"


async def test_the_starts_on_record_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BOOTS", 3)
    for _ in range(6):
        await bench.crash()
        await bench.restart()
    assert bench.rows("boots") == 4, "this one, and three before it"
    assert await bench.finish(work("a"))
