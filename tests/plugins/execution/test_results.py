"""Results that are used again, runs that only look, runs from runs, and how long it may take."""

from __future__ import annotations

from typing import Any

import pytest

from coder_local.api import Safety

from .bench import Bench, operation, step, work

# -- cache ------------------------------------------------------------------------------------------------------------


async def test_a_cached_step_is_not_done_again(bench: Bench) -> None:
    first = await bench.finish(work("a", output=7, cache=True))
    id = await bench.finish(work("a", output=7, cache=True), work("b", "a", output="${{ steps.a.output }}"))
    assert bench.world.begun == ["a", "b"]
    assert bench.statuses(id)["a"] == "reused"
    assert (bench.steps(id)["a"]["reused_from"], bench.steps(id)["b"]["output"]) == (first, 7)


async def test_a_cached_step_with_another_input_is_done(bench: Bench) -> None:
    await bench.finish(work("a", output="${{ inputs.x }}", cache=True), inputs={"x": 1})
    id = await bench.finish(work("a", output="${{ inputs.x }}", cache=True), inputs={"x": 2})
    assert bench.steps(id)["a"]["output"] == 2
    id = await bench.finish(work("a", output="${{ inputs.x }}", cache=True), inputs={"x": 1, "other": 3})
    assert bench.statuses(id)["a"] == "reused"


async def test_a_failure_and_a_step_of_another_workspace_are_not_cached(bench: Bench) -> None:
    await bench.finish(work("a", fails=1, cache=True))
    await bench.finish(work("a", fails=1, cache=True))
    assert bench.world.begun == ["a", "a"]
    await bench.finish(work("b", cache=True))
    other = bench.box.as_caller(workspace="other")
    id = other.call("execution.start", steps=[work("b", cache=True)])["run"]["id"]
    await bench.so(lambda: other.call("execution.runs.get", id=id)["run"]["status"] == "succeeded")
    assert bench.world.begun == ["a", "a", "b", "b"]


async def test_a_dry_run_is_no_result_for_a_live_one(bench: Bench) -> None:
    written = {"cache": True, "harm": Safety.WRITE, "output": 7}
    await bench.finish(work("a", **written), mode="dry")
    id = await bench.finish(work("a", **written))
    assert bench.world.begun == ["a"]
    assert bench.steps(id)["a"]["output"] == 7


# -- dry --------------------------------------------------------------------------------------------------------------


async def test_a_dry_run_does_only_what_reads(bench: Bench) -> None:
    id = await bench.finish(
        operation("list", "world.things.list"),
        operation("add", "world.add", "list", text="${{ inputs.x }}"),
        step("run", "command", {"run": ["touch", "made"]}, needs=["add"]),
        step("ask", "approval", {"prompt": "?"}, needs=["run"]),
        step("wait", "timer", {"duration": "P1D"}, needs=["ask"]),
        operation("after", "world.add", "add", text="${{ steps.add.output.text }}"),
        step("below", "sub_run", {"steps": [operation("deep", "world.add", text="deep")]}),
        mode="dry",
        inputs={"x": "hello"},
    )
    assert bench.run(id)["status"] == "succeeded"
    found = bench.steps(id)
    assert found["list"]["output"]["items"] == []
    assert found["add"]["output"] == {"dry": True, "would": {"operation": "world.add", "input": {"text": "hello"}}}
    assert found["after"]["output"]["would"]["input"] == {"text": "${{ steps.add.output.text }}"}
    assert found["run"]["output"]["would"]["run"] == ["touch", "made"]
    assert bench.world.calls == []
    assert list(bench.folder.iterdir()) == []
    child = bench.run(found["below"]["output"]["run"])
    assert (child["mode"], child["status"]) == ("dry", "succeeded")


async def test_a_dry_run_tells_what_is_skipped_and_fans_out(bench: Bench) -> None:
    id = await bench.finish(
        work("list", output=["x", "y"]),
        operation("f", "world.add", "list", text="${{ item }}", more={"foreach": "${{ steps.list.output }}"}),
        work("never", when={"value": 1, "equals": 2}),
        mode="dry",
    )
    assert bench.steps(id)["f[x]"]["output"]["would"]["input"] == {"text": "x"}
    assert bench.statuses(id)["never"] == "skipped"


# -- rewind and retry -------------------------------------------------------------------------------------------------


async def test_rewind_shares_what_was_finished_and_leaves_the_old_run_alone(bench: Bench) -> None:
    id = await bench.finish(
        work("a", output=1), work("b", "a", output=2), work("c", "b", output="${{ steps.b.output }}")
    )
    before = bench.call("execution.runs.record", id=id)
    bench.world.begun.clear()
    answer = bench.call("execution.runs.rewind", id=id, step="b", change={"output": 9})
    new = answer["run"]["id"]
    assert answer["reused"] == ["a"]
    assert (await bench.until(new))["status"] == "succeeded"
    assert bench.world.begun == ["b", "c"]
    assert bench.steps(new)["c"]["output"] == 9
    assert bench.call("execution.runs.record", id=id) == before
    assert (answer["run"]["forked_from"], answer["run"]["fork"]) == (id, "rewind")


async def test_rewind_of_a_run_that_goes_on_makes_one_beside_it(bench: Bench) -> None:
    id = bench.start(work("a", output=1), work("b", "a", hold=True))
    await bench.world.until(lambda: "b" in bench.world.begun)
    answer = bench.call("execution.runs.rewind", id=id, step="b", change={"hold": False})
    assert answer["reused"] == ["a"]
    assert (await bench.until(answer["run"]["id"]))["status"] == "succeeded"
    assert bench.status(id) == "running"


async def test_rewind_with_other_inputs_does_anew_what_hangs_on_them(bench: Bench) -> None:
    id = await bench.finish(work("a", output="${{ inputs.x }}"), work("b"), work("c", "a b"), inputs={"x": 1})
    answer = bench.call("execution.runs.rewind", id=id, step="c", inputs={"x": 2})
    await bench.until(answer["run"]["id"])
    assert answer["reused"] == ["b"]
    assert bench.steps(answer["run"]["id"])["a"]["output"] == 2


async def test_retry_from_a_step_does_it_and_what_hangs_on_it_again(bench: Bench) -> None:
    id = await bench.finish(work("a"), work("b", "a"), work("c"))
    answer = bench.call("execution.runs.retry", id=id, source="b")
    await bench.until(answer["run"]["id"])
    assert sorted(answer["reused"]) == ["a", "c"]
    assert bench.world.begun.count("b") == 2


async def test_a_retry_of_a_cancelled_run(bench: Bench) -> None:
    id = bench.start(work("a"), work("b", "a", hold=True))
    await bench.world.until(lambda: "b" in bench.world.begun)
    bench.call("execution.runs.cancel", id=id)
    await bench.until(id)
    bench.world.let_go()
    answer = bench.call("execution.runs.retry", id=id)
    assert answer["reused"] == ["a"]
    assert (await bench.until(answer["run"]["id"]))["status"] == "succeeded"


async def test_a_skipped_step_of_the_old_run_does_not_hide_what_comes_after_it(bench: Bench) -> None:
    never = {"value": 1, "equals": 2}
    id = await bench.finish(
        work("a"), work("s", "a", when=never), work("z", "a s", join="any"), work("x", "z", fails=1)
    )
    answer = bench.call("execution.runs.retry", id=id)
    await bench.until(answer["run"]["id"])
    assert answer["reused"] == ["a", "z"]


async def test_the_answer_of_a_retry_lists_steps_that_were_reused_and_their_outputs(bench: Bench) -> None:
    id = await bench.finish(work("a", output={"x": 1}), work("b", "a", fails=1, output="${{ steps.a.output.x }}"))
    steps = [work("a", output={"x": 1}), work("b", "a", output="${{ steps.a.output.x }}")]
    answer = bench.call("execution.runs.retry", id=id, definition="latest", steps=steps)
    new = answer["run"]["id"]
    await bench.until(new)
    assert bench.steps(new)["b"]["output"] == 1
    assert bench.steps(new)["a"]["reused_from"] == id
    definition = bench.call("execution.runs.definition", id=id)
    assert definition["steps"][1]["input"]["fails"] == 1, "the old run is held to its own steps"


# -- estimate ---------------------------------------------------------------------------------------------------------


async def test_an_estimate_is_the_median_and_the_90_percent_mark_of_the_past(bench: Bench) -> None:
    steps: list[dict[str, Any]] = [work("a"), work("b", "a"), work("c", output=1)]
    found = bench.call("execution.estimate", steps=steps)
    assert (found["median_ms"], found["unknown"]) == (None, ["a", "b", "c"])
    for _ in range(10):
        await bench.finish(*steps)
    with bench.box.tx() as tx:
        for key, factor in (("a", 10), ("b", 1), ("c", 1)):
            ids = sorted(each["id"] for each in _steps_called(bench, key))
            for index, id in enumerate(ids, 1):
                tx.connection.execute("UPDATE execution_steps SET active_ms = ? WHERE id = ?", (index * factor, id))
    found = bench.call("execution.estimate", steps=steps)
    by_key = {each["key"]: (each["runs"], each["median_ms"], each["p90_ms"]) for each in found["steps"]}
    assert by_key == {"a": (10, 55, 91), "b": (10, 6, 9), "c": (10, 6, 9)}
    assert (found["median_ms"], found["p90_ms"], found["unknown"]) == (61, 100, [])
    changed = bench.call("execution.estimate", steps=[work("a", output=2)])
    assert changed["unknown"] == ["a"]


def _steps_called(bench: Bench, key: str) -> list[dict[str, Any]]:
    return [each for each in bench.call("execution.steps.list", limit=200)["items"] if each["key"] == key]


async def test_the_step_of_a_dry_run_is_no_past(bench: Bench) -> None:
    await bench.finish(work("a", harm=Safety.WRITE), mode="dry")
    assert bench.call("execution.estimate", steps=[work("a", harm=Safety.WRITE)])["unknown"] == ["a"]


# -- results that do not stand any more -------------------------------------------------------------------------------


async def test_what_was_undone_is_done_again(bench: Bench) -> None:
    id = await bench.finish(work("a", compensate={"kind": "work"}), work("b", "a", fails=1))
    assert bench.statuses(id)["a'"] == "succeeded"
    again = bench.call("execution.runs.retry", id=id)
    assert again["reused"] == []
    await bench.until(again["run"]["id"])
    assert bench.world.begun == ["a", "b", "a'", "a", "b", "a'"]


async def test_what_was_undone_is_no_earlier_result(bench: Bench) -> None:
    cached = work("a", compensate={"kind": "work"}, cache=True)
    await bench.finish(cached, work("b", "a", fails=1))
    assert bench.steps(await bench.finish(cached))["a"]["status"] == "succeeded"


async def test_an_earlier_result_is_of_the_same_folder(bench: Bench) -> None:
    other = bench.folder / "other"
    other.mkdir()
    await bench.finish(work("a", output=1, cache=True))
    assert (
        bench.steps(await bench.finish(work("a", output=1, cache=True), folder=str(other)))["a"]["status"]
        == "succeeded"
    )
    assert bench.steps(await bench.finish(work("a", output=1, cache=True)))["a"]["status"] == "reused"


async def approved(bench: Bench) -> str:
    id = bench.start(step("ok", "approval", {"prompt": "send it to a?"}), work("send", "ok", output="a", fails=1))
    bench.call("execution.approvals.approve", id=bench.waits(id)["ok"]["id"])
    await bench.until(id)
    return id


async def test_an_approval_stands_for_what_followed_it(bench: Bench) -> None:
    assert bench.call("execution.runs.retry", id=await approved(bench))["reused"] == ["ok"]


async def test_an_approval_does_not_stand_for_something_else(bench: Bench) -> None:
    answer = bench.call("execution.runs.rewind", id=await approved(bench), step="send", change={"output": "b"})
    assert answer["reused"] == []
    assert list(bench.waits(answer["run"]["id"])) == ["ok"]


def asked(last: str, **third: Any) -> list[dict[str, Any]]:
    """Return a step that is agreed to and done, and one after it that is done, and one that is to be corrected."""
    return [
        step("ok", "approval", {"prompt": "pay?"}), work("pay", "ok", output=1), work("tell", "pay", output=2),
        work("file", "tell", output=last, **third),
    ]  # fmt: skip


@pytest.mark.parametrize(("payload", "begun"), [({"note": "x"}, ["file"]), ({"note": "y"}, ["pay", "tell", "file"])])
async def test_what_was_done_after_an_approval_is_not_done_twice_when_it_is_given_anew(
    bench: Bench, payload: Any, begun: list[str]
) -> None:
    id = bench.start(*asked("a", fails=1))
    bench.call("execution.approvals.approve", id=bench.waits(id)["ok"]["id"], payload={"note": "x"})
    assert (await bench.until(id))["status"] == "failed"
    bench.world.begun.clear()
    new = bench.call("execution.runs.retry", id=id, definition="latest", steps=asked("b"))["run"]["id"]
    assert (list(bench.waits(new)), bench.world.begun) == (["ok"], []), "nothing is done before he is asked"
    bench.call("execution.approvals.approve", id=bench.waits(new)["ok"]["id"], payload=payload)
    assert (await bench.until(new))["status"] == "succeeded"
    assert bench.world.begun == begun


async def test_from_an_approval_all_that_hangs_on_it_is_done_again(bench: Bench) -> None:
    id = bench.start(*asked("a", fails=1))
    bench.call("execution.approvals.approve", id=bench.waits(id)["ok"]["id"])
    await bench.until(id)
    bench.world.begun.clear()
    new = bench.call("execution.runs.retry", id=id, source="ok")["run"]["id"]
    bench.call("execution.approvals.approve", id=bench.waits(new)["ok"]["id"])
    await bench.until(new)
    assert bench.world.begun == ["pay", "tell", "file"]


async def test_a_run_that_rewinds_itself_ends_16_deep(bench: Bench) -> None:
    id = bench.start(operation("again", "execution.runs.rewind", id="${{ run.id }}", step="again"))
    await bench.until(id)
    await bench.turn()
    runs = bench.call("execution.runs.list", limit=50)["items"]
    assert sorted(each["depth"] for each in runs) == list(range(17))
