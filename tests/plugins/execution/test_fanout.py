"""Fan-outs over lists and matrices, how many run at once, and how many must succeed."""

from __future__ import annotations

from typing import Any

import pytest

from coder_local.api import Safety
from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, operation, pool, step, work


def items(bench: Bench, id: str, key: str = "f") -> dict[str, dict[str, Any]]:
    return {name: each for name, each in bench.steps(id).items() if each["parent"] == key and each["role"] == "item"}


async def test_one_step_for_each_item_and_their_outputs_in_order(bench: Bench) -> None:
    id = await bench.finish(
        work("list", output=["c", "a", "b"]),
        work("f", "list", foreach="${{ steps.list.output }}", output="<${{ item }}>"),
        work("after", "f", output="${{ steps.f.output }}"),
    )
    assert list(items(bench, id)) == ["f[c]", "f[a]", "f[b]"]
    assert bench.steps(id)["after"]["output"] == ["<c>", "<a>", "<b>"]


async def test_items_of_one_name_and_objects_are_called_by_their_place(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=["a", "a"]), work("g", foreach=[{"x": 1}], output="${{ item.x }}"))
    assert set(bench.steps(id)) == {"f", "f[0]", "f[1]", "g", "g[0]"}
    assert bench.steps(id)["g[0]"]["output"] == 1


async def test_an_empty_list_succeeds_at_once(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=[]), work("after", "f"))
    assert bench.statuses(id) == {"f": "succeeded", "after": "succeeded"}
    assert bench.steps(id)["f"]["output"] == []


async def test_foreach_of_what_is_no_list(bench: Bench) -> None:
    id = await bench.finish(work("a", output={"x": 1}), work("f", "a", foreach="${{ steps.a.output }}"))
    assert bench.steps(id)["f"]["error"]["message"] == "foreach of f must be a list, and is dict"


async def test_a_map_is_a_fan_out(bench: Bench) -> None:
    over = {"over": "${{ steps.a.output }}", "kind": "work", "input": {"output": "${{ item }}!"}}
    id = await bench.finish(work("a", output=[1, 2]), step("m", "map", over, needs=["a"]))
    assert bench.steps(id)["m"]["output"] == ["1!", "2!"]
    assert bench.steps(id)["m"]["kind"] == "work"


async def test_max_parallel_holds_the_others_back(bench: Bench) -> None:
    id = bench.start(work("f", foreach=list(range(9)), max_parallel=3, hold=True))
    await bench.world.until(lambda: bench.world.now["work"] == 3)
    await bench.turn()
    assert bench.world.begun == ["f[0]", "f[1]", "f[2]"]
    bench.world.let_go("f[1]")
    await bench.world.until(lambda: len(bench.world.begun) == 4)
    assert bench.world.begun[-1] == "f[3]"
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.most["work"] == 3


async def test_parallel_holds_the_steps_of_a_run_back(bench: Bench) -> None:
    id = bench.start(*(work(f"s{index}", hold=True) for index in range(6)), parallel=2)
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    await bench.turn()
    assert bench.world.begun == ["s0", "s1"]
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.most["work"] == 2
    assert bench.world.begun == [f"s{index}" for index in range(6)]


@pytest.mark.parametrize("kind", ["pool", "work"])
async def test_the_settings_hold_the_steps_of_all_runs_back(bench: Bench, kind: str) -> None:
    bench.box.configure(ExecutionSettings(processes=2 if kind == "pool" else 9, others=2 if kind == "work" else 9))
    make = pool if kind == "pool" else work
    first = bench.start(*(make(f"a{index}", hold=True) for index in range(2)))
    second = bench.start(*(make(f"b{index}", hold=True) for index in range(2)))
    await bench.world.until(lambda: bench.world.now[kind] == 2)
    await bench.turn()
    assert bench.world.now[kind] == 2
    bench.world.let_go()
    await bench.until(first)
    await bench.until(second)
    assert bench.world.most[kind] == 2


async def test_a_matrix_can_be_cut_down_to_some_of_its_steps(bench: Bench) -> None:
    axes = {"os": ["linux", "mac"], "py": [3.11, 3.12], "fast": [True]}
    id = await bench.finish(
        work("f", matrix={"axes": axes}, output="${{ matrix.os }}"), only=["f[linux,3.12,true]", "f[mac,3.11,true]"]
    )
    assert sorted(bench.world.begun) == ["f[linux,3.12,true]", "f[mac,3.11,true]"]
    assert bench.steps(id)["f"]["output"] == ["linux", "mac"]


@pytest.mark.parametrize(
    ("fan_in", "failing", "status"),
    [
        ("all", 0, "succeeded"),
        ("all", 1, "failed"),
        ("any", 3, "succeeded"),
        ("any", 4, "failed"),
        (2, 2, "succeeded"),
        (2, 3, "failed"),
    ],
)
async def test_how_many_must_succeed(bench: Bench, fan_in: Any, failing: int, status: str) -> None:
    bench.world.let_go()
    fails = [1] * failing + [0] * (4 - failing)
    id = await bench.finish(work("f", foreach=fails, fails="${{ item }}", fan_in=fan_in), work("after", "f"))
    found = bench.steps(id)["f"]
    assert found["status"] == status
    if status == "failed":
        assert found["error"]["word"] == "fan_in"
        assert f"{4 - failing} of 4 succeeded" in found["error"]["message"]
        assert len(found["error"]["data"]["failed"]) == failing
        assert bench.run(id)["error"]["step"] == "f"


async def test_when_enough_succeeded_those_that_have_not_begun_are_left_out(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=[0, 1, 2, 3], fan_in="any", max_parallel=1))
    assert bench.world.begun == ["f[0]"]
    assert bench.statuses(id) == {
        "f": "succeeded", "f[0]": "succeeded", "f[1]": "skipped", "f[2]": "skipped", "f[3]": "skipped",
    }  # fmt: skip


async def test_more_must_succeed_than_there_are(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=[1], fan_in=2))
    assert bench.steps(id)["f"]["status"] == "failed"
    assert "1 of 1 succeeded, and 2 had to" in bench.steps(id)["f"]["error"]["message"]


async def test_a_retry_takes_over_the_items_that_succeeded(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=[0, 1, 0], fails="${{ item }}"))
    forked = bench.call(
        "execution.runs.retry", id=id, definition="latest", steps=[work("f", foreach=[0, 1, 0], fails="${{ item }}")]
    )
    bench.world.begun.clear()
    await bench.until(forked["run"]["id"])
    assert bench.world.begun == ["f[1]"]
    assert bench.statuses(forked["run"]["id"])["f[0]"] == "reused"


async def test_operations_in_a_fan_out_are_one_commit_each(bench: Bench) -> None:
    id = await bench.finish(operation("f", "world.add", text="${{ item }}", more={"foreach": ["a", "b", "c"]}))
    assert bench.run(id)["status"] == "succeeded"
    assert bench.world.calls == ["a", "b", "c"]
    assert [each["text"] for each in bench.call("world.things.list")["items"]] == ["a", "b", "c"]


async def test_outputs_that_are_large_together_are_an_artifact(bench: Bench) -> None:
    id = await bench.finish(work("f", foreach=[0, 1, 2], size=400_000), work("b", "f", output="${{ steps.f.output }}"))
    assert bench.steps(id)["f"]["output"] is None
    (kept,) = bench.call("execution.artifacts.list", run=id, key="f")["items"]
    assert kept["bytes"] > 1_200_000
    assert bench.steps(id)["b"]["error"]["word"] == "reference"


async def test_a_crash_in_the_middle_of_a_fan_out_repeats_nothing(bench: Bench) -> None:
    id = bench.start(work("f", foreach=list(range(6)), max_parallel=2, hold=True, effect="repeatable"))
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    bench.world.let_go("f[0]")
    await bench.until_step(id, "f[0]", "succeeded")
    await bench.world.until(lambda: "f[2]" in bench.world.begun)
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.world.begun.count("f[0]") == 1
    assert sorted(set(bench.world.begun)) == [f"f[{index}]" for index in range(6)]
    assert bench.world.most["work"] == 2


async def test_the_worst_word_counts_the_steps_of_a_fan_out(bench: Bench) -> None:
    found = bench.call("execution.check", steps=[work("f", foreach=[1], harm=Safety.DESTRUCTIVE)])
    assert found["safety"] == "destructive"


@pytest.mark.parametrize("values", [["y" * 300, "z"], [1, "1"], ["a", "a"], ["line\nline", "z"]])
async def test_combinations_that_cannot_be_called_by_their_values(bench: Bench, values: list[Any]) -> None:
    id = await bench.finish(work("a"), work("m", "a", matrix={"axes": {"x": values}}, output="${{ matrix.x }}"))
    assert bench.steps(id)["m"]["output"] == values
    assert set(bench.statuses(id)) == {"a", "m", "m[0]", "m[1]"}


async def test_an_empty_one_of_programs_needs_no_place_of_a_program(bench: Bench) -> None:
    places = bench.engine._room().processes
    hold = bench.start(*(pool(f"h{number}", hold=True) for number in range(places)))
    await bench.until_step(hold, "h0", "running")
    id = await bench.finish(step("f", "pool", {}, foreach=[]), work("after", "f"))
    assert bench.statuses(id) == {"f": "succeeded", "after": "succeeded"}
    bench.world.let_go()
    await bench.until(hold)


async def test_the_answer_of_a_retry_names_what_of_it_is_reused(bench: Bench) -> None:
    id = await bench.finish(step("f", "work", {"fails": "${{ item }}"}, foreach=[0, 0, 1]))
    assert bench.call("execution.runs.retry", id=id)["reused"] == ["f[0]", "f[1]"]
