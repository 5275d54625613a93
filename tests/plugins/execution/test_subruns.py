"""Runs below runs: their ends, their stops, and how deep they may stand."""

from __future__ import annotations

import pytest

from coder_local.api import Invalid
from coder_plugins.execution.machine import live
from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, operation, step, work


def sub(key: str, *steps: dict[str, object], needs: str = "", **more: object) -> dict[str, object]:
    return step(key, "sub_run", {"steps": list(steps), **more}, needs=needs.split())


async def test_its_end_is_the_end_of_the_step(bench: Bench) -> None:
    id = await bench.finish(
        sub("s", work("a", output="${{ inputs.x }}"), inputs={"x": "${{ inputs.y }}"}, name="below"),
        work("after", "s", output="${{ steps.s.output.output.a }}"),
        inputs={"y": 7},
    )
    found = bench.steps(id)
    child = bench.run(found["s"]["output"]["run"])
    assert (child["parent_run"], child["parent_step"], child["depth"], child["name"]) == (id, "s", 1, "below")
    assert child["status"] == "succeeded"
    assert found["after"]["output"] == 7


async def test_its_failure_is_the_failure_of_the_step(bench: Bench) -> None:
    id = await bench.finish(sub("s", work("a", fails=1)))
    error = bench.steps(id)["s"]["error"]
    assert error["word"] == "sub_run"
    assert error["message"] == "its run failed: step a failed: attempt 1 failed"
    assert bench.run(error["data"]["run"])["status"] == "failed"


async def test_it_is_tried_again_as_a_run_of_its_own(bench: Bench) -> None:
    again = {**sub("s", work("a", fails=1)), "retry": {"max": 3, "first": "PT0S", "on": ["sub_run"]}}
    id = await bench.finish(again)
    children = bench.call("execution.runs.list", parent_run=id)["items"]
    assert [child["status"] for child in children] == ["failed"] * 3
    assert (bench.steps(id)["s"]["status"], bench.steps(id)["s"]["attempts"]) == ("failed", 3)
    other = await bench.finish({**again, "retry": {"max": 3, "first": "PT0S", "on": ["timeout"]}})
    assert len(bench.call("execution.runs.list", parent_run=other)["items"]) == 1


async def test_cancel_goes_down_and_the_run_waits_for_its_children(bench: Bench) -> None:
    id = bench.start(sub("s", sub("t", work("a", hold=True), work("b", "a"))), work("x", hold=True))
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    child = bench.waits(id)["s"]["name"]
    grandchild = bench.waits(child)["t"]["name"]
    bench.call("execution.runs.cancel", id=id, grace=1)
    assert bench.status(id) == bench.status(child) == bench.status(grandchild) == "cancelling"
    await bench.until(id)
    assert [bench.status(each) for each in (id, child, grandchild)] == ["cancelled"] * 3
    assert bench.statuses(id) == {"s": "cancelled", "x": "cancelled"}
    assert sorted(bench.world.ended) == ["a", "x"]
    assert bench.run(grandchild)["grace_ms"] == 1000


async def test_cancel_of_a_child_alone_fails_its_step(bench: Bench) -> None:
    id = bench.start(sub("s", work("a", hold=True)))
    await bench.world.until(lambda: bench.world.begun)
    bench.call("execution.runs.cancel", id=bench.waits(id)["s"]["name"])
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"]) == ("failed", "sub_run")


async def test_a_crash_leaves_one_child(bench: Bench) -> None:
    id = bench.start(sub("s", work("a", hold=True, effect="repeatable")))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.rows("runs") == 2


async def test_a_definition_that_ran_before(bench: Bench) -> None:
    first = await bench.finish(work("a", output=1))
    definition = bench.run(first)["definition"]
    id = await bench.finish(step("s", "sub_run", {"definition": definition}))
    assert bench.steps(id)["s"]["output"]["output"] == {"a": 1}
    id = await bench.finish(step("s", "sub_run", {"definition": "${{ inputs.hash }}"}), inputs={"hash": "0" * 64})
    assert bench.steps(id)["s"]["error"]["word"] == "conflict"


async def test_a_run_that_runs_itself_ends_16_deep(bench: Bench) -> None:
    again = {"value": "${{ run.name }}", "not_equals": "enough"}
    id = await bench.finish(step("s", "sub_run", {"definition": "self"}, when=again))
    assert bench.run(id)["status"] == "failed"
    runs = bench.call("execution.runs.list", limit=50)["items"]
    assert sorted(each["depth"] for each in runs) == list(range(17))
    assert {each["status"] for each in runs} == {"failed"}
    deepest = max(runs, key=lambda each: each["depth"])
    error = bench.steps(deepest["id"])["s"]["error"]
    assert error["word"] == "conflict"
    assert "16 deep" in error["message"]
    assert bench.steps(id)["s"]["error"]["message"] == f"its run failed: step s failed: {error['message']}"


@pytest.mark.parametrize("name", ["world.again", "world.again_outside"])
async def test_an_operation_that_starts_its_own_run_ends_16_deep(bench: Bench, name: str) -> None:
    bench.start(operation("again", name))
    await bench.so(
        lambda: "failed" in {each["status"] for each in bench.call("execution.runs.list", limit=50)["items"]}
    )
    await bench.turn()
    runs = bench.call("execution.runs.list", limit=50)["items"]
    assert sorted(each["depth"] for each in runs) == list(range(17))
    (failed,) = [each for each in runs if each["status"] == "failed"]
    assert failed["depth"] == 16
    assert "16 deep" in failed["error"]["message"]


async def test_too_many_sub_runs_within_an_hour(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(runs_per_hour=3))
    child = step("f", "sub_run", {"steps": [work("a")]}, foreach=list(range(5)), max_parallel=1)
    id = await bench.finish(child)
    good = [each for each in bench.steps(id).values() if each["role"] == "item" and each["status"] == "succeeded"]
    assert len(good) == 3
    assert "within an hour" in bench.steps(id)["f[3]"]["error"]["message"]


# -- what is wrong with the steps below -------------------------------------------------------------------------------


async def test_what_cannot_run_below_is_refused_before_anything_runs(bench: Bench) -> None:
    at = "/steps/1/input/steps/0"
    for below, field, part in (
        (work("a", "nope"), f"{at}/needs/0", "needs nope"),
        (work("a", "a"), "/steps/1/input/steps", "wait for each other"),
        (step("a", "wrok"), f"{at}/kind", "no kind of step"),
        (operation("a", "world.ad", text="x"), f"{at}/input/operation", "world.ad"),
        (operation("a", "world.sign"), f"{at}/input/operation", "for a person"),
        (work("a", timeout="PT0S"), f"{at}/timeout", "cannot be"),
        (work("a", output="${{ inputs.no }}"), f"{at}/input/output", "no input no"),
        (work("a", output="${{ steps.first.output }}"), f"{at}/input/output", "need not have ended"),
        ({**work("a", output="${{ inputs.x }}"), "kinf": 1}, f"{at}/kinf", "no field"),
        (sub("t", work("a", "nope")), f"{at}/input/steps/0/needs/0", "needs nope"),
    ):
        error = bench.refused(work("first"), sub("s", below, inputs={"x": 1}, needs="first"))
        assert error.field == field, (error.field, error.message)
        assert part in error.message


async def test_the_steps_of_a_sub_run_are_no_reference(bench: Bench) -> None:
    error = bench.refused(step("s", "sub_run", {"steps": "${{ inputs.steps }}"}), inputs={"steps": []})
    assert error.field == "/steps/0/input/steps"


async def test_a_map_below_is_a_fan_out(bench: Bench) -> None:
    below = step("m", "map", {"over": "${{ inputs.x }}", "kind": "work", "input": {"output": "${{ item }}"}})
    id = await bench.finish(sub("s", below, inputs={"x": [1, 2]}))
    assert bench.steps(id)["s"]["output"]["output"] == {"m": [1, 2]}


async def test_steps_by_their_hash_are_as_dangerous_as_they_are(bench: Bench) -> None:
    id = await bench.finish(work("a", harm="destructive"))
    named = step("s", "sub_run", {"definition": bench.run(id)["definition"]})
    assert bench.call("execution.check", steps=[named])["safety"] == "destructive"
    assert bench.run(await bench.finish(named))["status"] == "succeeded"
    with pytest.raises(Invalid) as caught:
        bench.start(step("s", "sub_run", {"definition": "0" * 64}))
    assert caught.value.field == "/steps/0/input/definition"


async def test_a_pause_goes_down(bench: Bench) -> None:
    id = bench.start(sub("s", sub("t", work("a", hold=True), work("b", "a"))))
    await bench.world.until(lambda: bench.world.begun)
    below = bench.waits(bench.waits(id)["s"]["name"])["t"]["name"]
    bench.call("execution.runs.pause", id=id)
    bench.world.let_go()
    await bench.until(below, "paused")
    await bench.turn()
    assert bench.world.begun == ["a"]
    bench.call("execution.runs.resume", id=id)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_what_has_ended_is_not_kept_in_memory(bench: Bench) -> None:
    await bench.finish(sub("s", work("a")), work("b"))
    assert not live._lives
