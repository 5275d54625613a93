"""What undoes what was done, when a run fails or is cancelled after it."""

from __future__ import annotations

from typing import Any

import pytest

from coder_plugins.execution.machine import settling

from .bench import Bench, operation, step, work

UNDO: dict[str, Any] = {"kind": "work", "input": {}}


async def test_in_reverse_order_of_completion_and_not_of_writing(bench: Bench) -> None:
    id = bench.start(
        work("a", hold=True, compensate=UNDO), work("b", compensate=UNDO), work("c", "b", compensate=UNDO),
        work("bad", "a c", fails=1),
    )  # fmt: skip
    await bench.until_step(id, "c", "succeeded")
    bench.world.let_go()
    await bench.until(id)
    assert bench.world.begun == ["a", "b", "c", "bad", "a'", "c'", "b'"]
    assert [each["step"] for each in bench.run(id)["error"]["compensations"]] == ["a", "c", "b"]


async def test_only_of_what_succeeded_and_only_when_the_run_fails(bench: Bench) -> None:
    await bench.finish(work("a", compensate=UNDO), work("b", "a", fails=1, allow_failure=True, compensate=UNDO))
    assert bench.world.begun == ["a", "b"]
    bench.world.begun.clear()
    await bench.finish(
        work("a", compensate=UNDO), work("b", "a", fails=1, compensate=UNDO), work("c", "b", compensate=UNDO)
    )
    assert bench.world.begun == ["a", "b", "a'"]


async def test_it_is_given_the_output_of_what_it_undoes(bench: Bench) -> None:
    undo = {"kind": "work", "input": {"output": "${{ output.id }} of ${{ steps.a.output.id }} in ${{ inputs.x }}"}}
    id = await bench.finish(work("a", output={"id": 7}, compensate=undo), work("b", "a", fails=1), inputs={"x": "y"})
    assert bench.steps(id)["a'"]["output"] == "7 of 7 in y"


async def test_each_step_of_a_fan_out_is_undone(bench: Bench) -> None:
    undo = {"kind": "work", "input": {"output": "${{ item }} ${{ output }}"}}
    id = await bench.finish(
        work("f", foreach=["x", "y"], output="${{ item }}!", max_parallel=1, compensate=undo), work("b", "f", fails=1)
    )
    assert bench.world.begun == ["f[x]", "f[y]", "b", "f[y]'", "f[x]'"]
    assert bench.steps(id)["f[x]'"]["output"] == "x x!"


async def test_cancel_undoes_only_when_it_is_asked(bench: Bench) -> None:
    for asked in (False, True):
        bench.world.begun.clear()
        id = bench.start(work("a", compensate=UNDO), work("b", "a", hold=True, compensate=UNDO))
        await bench.world.until(lambda: "b" in bench.world.begun)
        bench.call("execution.runs.cancel", id=id, compensate=asked)
        assert (await bench.until(id))["status"] == "cancelled"
        assert bench.world.begun == (["a", "b", "a'"] if asked else ["a", "b"])


async def test_a_crash_in_the_middle_goes_on_with_the_rest(bench: Bench) -> None:
    undo = {"kind": "work", "input": {"hold": True, "effect": "repeatable"}}
    id = bench.start(work("a", compensate=UNDO), work("b", "a", compensate=undo), work("c", "b", fails=1))
    await bench.world.until(lambda: "b'" in bench.world.begun)
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    assert (await bench.until(id))["status"] == "failed"
    assert bench.world.begun == ["a", "b", "c", "b'", "b'", "a'"]
    assert [each["status"] for each in bench.run(id)["error"]["compensations"]] == ["succeeded", "succeeded"]


async def test_an_operation_undoes_what_an_operation_made(bench: Bench) -> None:
    undo = {"kind": "operation", "input": {"operation": "world.things.delete", "input": {"id": "${{ output.id }}"}}}
    id = await bench.finish(operation("a", "world.add", text="x", more={"compensate": undo}), work("b", "a", fails=1))
    assert bench.statuses(id)["a'"] == "succeeded"
    assert bench.call("world.things.list")["items"] == []


async def test_a_run_that_is_paused_while_it_undoes(bench: Bench) -> None:
    undo = {"kind": "work", "input": {"hold": True}}
    id = bench.start(work("a", compensate=UNDO), work("b", "a", compensate=undo), work("c", "b", fails=1))
    await bench.world.until(lambda: "b'" in bench.world.begun)
    bench.call("execution.runs.pause", id=id)
    bench.world.let_go()
    await bench.until(id, "paused")
    assert bench.world.begun[-1] == "b'"
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "failed"
    assert bench.world.begun[-1] == "a'"


async def test_an_undo_that_waits_for_a_person(bench: Bench) -> None:
    undo = {"kind": "approval", "input": {"prompt": "undo by hand"}}
    id = bench.start(work("a", compensate=undo), work("b", "a", fails=1))
    await bench.until_step(id, "a'", "waiting")
    assert bench.status(id) == "waiting"
    bench.call("execution.approvals.approve", id=bench.waits(id)["a'"]["id"])
    assert (await bench.until(id))["status"] == "failed"


async def test_what_was_undone_is_done_and_undone_again(bench: Bench) -> None:
    id = await bench.finish(
        work("a", compensate=UNDO), step("t", "timer", {"duration": "PT0S"}), work("b", "a t", fails=1)
    )
    forked = bench.call("execution.runs.retry", id=id)["run"]["id"]
    await bench.until(forked)
    assert bench.world.begun == ["a", "b", "a'", "a", "b", "a'"], "a result that was undone does not stand"


async def test_what_is_asked_of_many_grows_with_their_number_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    verdict = settling._verdict

    def counting(live: Any, step: Any, spec: Any) -> str:
        looked.append(step.key)
        return verdict(live, step, spec)

    monkeypatch.setattr(settling, "_verdict", counting)
    id = await bench.finish(work("f", foreach=list(range(80)), compensate=UNDO), work("b", "f", fails=1))
    assert bench.call("execution.runs.get", id=id)["counts"] == {"succeeded": 161, "failed": 1}
    assert len([key for key in looked if key.endswith("'")]) <= 2 * 80
