"""Which steps run when those that they need have ended: joins, `run_if` and `when`."""

from __future__ import annotations

import pytest

from .bench import Bench, work


async def test_all_that_is_needed_must_succeed(bench: Bench) -> None:
    id = await bench.finish(work("a"), work("b", fails=1), work("c", "a b"), work("d", "c"))
    assert bench.statuses(id) == {"a": "succeeded", "b": "failed", "c": "skipped", "d": "skipped"}
    assert "b" in bench.steps(id)["c"]["reason"]
    run = bench.run(id)
    assert (run["status"], run["error"]["step"], run["error"]["failed"]) == ("failed", "b", ["b"])
    assert sorted(bench.world.begun) == ["a", "b"]


async def test_any_begins_with_the_first_success_and_does_not_wait_for_the_rest(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), work("b"), work("c", "a b", join="any"))
    await bench.until_step(id, "c", "succeeded")
    assert bench.statuses(id)["a"] == "running"
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_any_is_skipped_when_none_succeeded(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=1), work("b", fails=1), work("c", "a b", join="any"))
    assert bench.statuses(id)["c"] == "skipped"


@pytest.mark.parametrize(("failing", "wanted"), [(1, "succeeded"), (2, "skipped")])
async def test_at_least_two_of_three(bench: Bench, failing: int, wanted: str) -> None:
    parts = [work(f"s{index}", fails=int(index < failing)) for index in range(3)]
    id = await bench.finish(*parts, work("c", "s0 s1 s2", join=2))
    assert bench.statuses(id)["c"] == wanted


async def test_at_least_is_skipped_as_soon_as_it_cannot_be_reached(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), work("b", fails=1), work("c", fails=1), work("d", "a b c", join=2))
    assert (await bench.until_step(id, "d", "skipped", "succeeded"))["status"] == "skipped"
    assert bench.statuses(id)["a"] == "running"


async def test_always_runs_whatever_came_before_and_after_it_has_ended(bench: Bench) -> None:
    id = bench.start(
        work("a", fails=1), work("b", "a"), work("c", hold=True), work("clean", "a b c", run_if="always()")
    )
    await bench.until_step(id, "b", "skipped")
    assert bench.statuses(id)["clean"] == "pending"
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "failed"
    assert bench.statuses(id)["clean"] == "succeeded"


@pytest.mark.parametrize(("fails", "wanted"), [(1, "succeeded"), (0, "skipped")])
async def test_failure_runs_only_after_one(bench: Bench, fails: int, wanted: str) -> None:
    id = await bench.finish(work("a", fails=fails), work("tell", "a", run_if="failure()"))
    assert bench.statuses(id)["tell"] == wanted
    if wanted == "skipped":
        assert bench.steps(id)["tell"]["reason"] == "nothing that it needs failed"


async def test_a_failure_further_up_counts_too(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=1), work("b", "a"), work("c", "b"), work("tell", "c", run_if="failure()"))
    assert bench.statuses(id) == {"a": "failed", "b": "skipped", "c": "skipped", "tell": "succeeded"}


async def test_a_failure_that_is_allowed_is_none(bench: Bench) -> None:
    id = await bench.finish(
        work("a", fails=1, allow_failure=True), work("b", "a"), work("tell", "a", run_if="failure()")
    )
    assert bench.statuses(id) == {"a": "failed", "b": "succeeded", "tell": "skipped"}
    assert bench.run(id)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ({"equals": 3}, "succeeded"),
        ({"equals": 4}, "skipped"),
        ({"not_equals": 4}, "succeeded"),
        ({"one_of": [1, 3]}, "succeeded"),
        ({"one_of": []}, "skipped"),
        ({"equals": "${{ inputs.three }}"}, "succeeded"),
    ],
)
async def test_a_condition(bench: Bench, when: dict[str, object], wanted: str) -> None:
    condition = {"value": "${{ steps.a.output.count }}", **when}
    id = await bench.finish(work("a", output={"count": 3}), work("b", "a", when=condition), inputs={"three": 3})
    assert bench.statuses(id)["b"] == wanted
    assert bench.run(id)["status"] == "succeeded"


async def test_a_condition_on_what_is_not_there_fails_its_step(bench: Bench) -> None:
    when = {"value": "${{ steps.a.output.nothing }}", "equals": 1}
    id = await bench.finish(work("a", output={"count": 3}), work("b", "a", when=when))
    assert bench.steps(id)["b"]["error"]["word"] == "reference"
    assert "steps.a.output has count" in bench.steps(id)["b"]["error"]["message"]


async def test_a_step_is_given_what_it_refers_to(bench: Bench) -> None:
    id = await bench.finish(
        work("a", output={"list": [{"n": 7}], "text": "t"}),
        work("b", "a", output={"whole": "${{ steps.a.output.list.0 }}", "part": "<${{ steps.a.output.text }}>"}),
        work("c", "b", output="${{ steps.b.output.whole.n }} ${{ inputs.x }} ${{ run.name }}"),
        inputs={"x": [1, 2]},
        name="a run",
    )
    assert bench.steps(id)["b"]["output"] == {"whole": {"n": 7}, "part": "<t>"}
    assert bench.steps(id)["c"]["output"] == "7 [1,2] a run"
    assert bench.run(id)["output"] == {"c": "7 [1,2] a run"}
