"""The acceptance examples 1, 4, 5, 7 and 8 with their numbers; 6 is in `test_processes`, 2 and 3 in `test_kill`."""

from __future__ import annotations

from typing import Any

from coder_local.api import parse_instant

from .bench import Bench, step, work

RETRY = {"max": 9, "first": "PT1S", "factor": 2, "cap": "PT100S", "jitter": "none"}


async def test_1_the_waits_between_ten_attempts(bench: Bench) -> None:
    id = bench.start(work("a", fails=10, retry={**RETRY, "max": 10}))
    found: list[float] = []
    for _ in range(9):
        await bench.until_step(id, "a", "waiting")
        found.append(await _to_due(bench, id))
    assert found == [1, 2, 4, 8, 16, 32, 64, 100, 100]


async def _to_due(bench: Bench, id: str) -> float:
    """Advance the clock to the moment at which a wait is due; return the seconds."""
    wait = bench.waits(id)["a"]
    seconds = round(parse_instant(wait["due_at"]).timestamp() - bench.box.clock.ms / 1000, 3)
    await bench.advance(seconds - 0.001)
    assert bench.waits(id)["a"]["id"] == wait["id"], "it was tried too early"
    bench.box.clock.advance(0.001)
    bench.engine.wake()
    await bench.so(lambda: bench.waits(id).get("a", {}).get("id") != wait["id"])
    return seconds


async def test_1_five_attempts_are_four_waits_of_15_seconds_and_every_error_is_kept(bench: Bench) -> None:
    begun = bench.box.clock.ms
    id = bench.start(work("a", fails=9, retry={**RETRY, "max": 5}))
    found: list[float] = []
    for _ in range(4):
        await bench.until_step(id, "a", "waiting")
        found.append(await _to_due(bench, id))
    run = await bench.until(id)
    assert (found, sum(found)) == ([1, 2, 4, 8], 15)
    assert bench.box.clock.ms - begun == 15_000
    assert run["status"] == "failed"
    attempts = bench.attempts(id, "a")
    assert [each["error"]["message"] for each in attempts] == [f"attempt {n} failed" for n in range(1, 6)]
    assert [each["state"] for each in attempts] == ["failed"] * 5
    assert bench.steps(id)["a"]["error"]["message"] == "attempt 5 failed"


def five(**fourth: Any) -> list[dict[str, Any]]:
    """Return five steps in a row, of which the fourth fails unless it is told otherwise."""
    return [
        work("s1", output=1), work("s2", "s1", output=2), work("s3", "s2", output=3),
        work("s4", "s3", **{"fails": 1, **fourth}), work("s5", "s4", output=5),
    ]  # fmt: skip


async def retried(bench: Bench, id: str, **how: Any) -> tuple[list[str], dict[str, str], list[str]]:
    """Retry a run; return what was reused, the statuses at its end, and what was begun."""
    bench.world.begun.clear()
    old = bench.call("execution.runs.record", id=id)
    forked = bench.call("execution.runs.retry", id=id, **how)
    new = forked["run"]["id"]
    await bench.until(new)
    assert bench.call("execution.runs.record", id=id) == old, "a run that has ended never changes"
    assert (bench.run(new)["forked_from"], bench.run(new)["fork"]) == (id, "retry")
    return forked["reused"], bench.statuses(new), bench.world.begun


async def test_4_from_failed_with_the_corrected_definition(bench: Bench) -> None:
    id = await bench.finish(*five())
    reused, statuses, begun = await retried(bench, id, source="failed", definition="latest", steps=five(fails=0))
    assert reused == ["s1", "s2", "s3"]
    assert statuses == {"s1": "reused", "s2": "reused", "s3": "reused", "s4": "succeeded", "s5": "succeeded"}
    assert begun == ["s4", "s5"]


async def test_4_a_changed_input_of_step_2_runs_2_to_5(bench: Bench) -> None:
    id = await bench.finish(*five())
    corrected = [*five(fails=0)]
    corrected[1] = work("s2", "s1", output="changed")
    reused, statuses, begun = await retried(bench, id, source="failed", definition="latest", steps=corrected)
    assert reused == ["s1"]
    assert statuses == {"s1": "reused", **{f"s{n}": "succeeded" for n in range(2, 6)}}
    assert begun == ["s2", "s3", "s4", "s5"]


async def test_4_from_failed_with_the_same_definition(bench: Bench) -> None:
    id = await bench.finish(*five())
    reused, statuses, begun = await retried(bench, id, source="failed", definition="same")
    assert reused == ["s1", "s2", "s3"]
    assert (statuses["s4"], statuses["s5"], begun) == ("failed", "skipped", ["s4"])


async def test_4_from_start_with_the_same_definition(bench: Bench) -> None:
    id = await bench.finish(*five())
    reused, statuses, begun = await retried(bench, id, source="start", definition="same")
    assert (reused, begun) == ([], ["s1", "s2", "s3", "s4"])
    assert (statuses["s4"], statuses["s5"]) == ("failed", "skipped")


async def test_4_from_start_with_the_corrected_definition(bench: Bench) -> None:
    id = await bench.finish(*five())
    reused, statuses, begun = await retried(bench, id, source="start", definition="latest", steps=five(fails=0))
    assert (reused, begun) == ([], ["s1", "s2", "s3", "s4", "s5"])
    assert set(statuses.values()) == {"succeeded"}


async def test_4_latest_is_that_of_the_newest_run_of_the_same_source(bench: Bench) -> None:
    id = await bench.finish(*five(), source_ref="plan/1")
    await bench.finish(*five(fails=0), source_ref="plan/1")
    reused, statuses, _ = await retried(bench, id, source="failed", definition="latest")
    assert reused == ["s1", "s2", "s3"]
    assert statuses["s5"] == "succeeded"


async def test_4_a_result_that_was_reused_is_reused_again(bench: Bench) -> None:
    id = await bench.finish(*five())
    second = bench.call("execution.runs.retry", id=id)["run"]["id"]
    await bench.until(second)
    third = bench.call("execution.runs.retry", id=second, definition="latest", steps=five(fails=0))
    assert third["reused"] == ["s1", "s2", "s3"]
    await bench.until(third["run"]["id"])
    assert bench.steps(third["run"]["id"])["s1"]["reused_from"] == id


MATRIX = {"axes": {"os": ["linux", "mac"], "py": ["3.11", "3.12"]}, "exclude": [{"os": "mac", "py": "3.11"}]}


async def test_5_a_matrix_of_three(bench: Bench) -> None:
    id = await bench.finish(work("test", output="${{ matrix.os }} ${{ matrix.py }}", matrix=MATRIX))
    items = {key: each["output"] for key, each in bench.steps(id).items() if each["role"] == "item"}
    assert items == {
        "test[linux,3.11]": "linux 3.11", "test[linux,3.12]": "linux 3.12", "test[mac,3.12]": "mac 3.12",
    }  # fmt: skip
    assert sorted(bench.world.begun) == sorted(items)


async def test_5_only_one_of_it(bench: Bench) -> None:
    id = await bench.finish(work("test", matrix=MATRIX), only=["test[linux,3.12]"])
    assert bench.world.begun == ["test[linux,3.12]"]
    assert bench.run(id)["status"] == "succeeded"
    assert bench.statuses(id) == {
        "test": "succeeded", "test[linux,3.11]": "skipped", "test[linux,3.12]": "succeeded",
        "test[mac,3.12]": "skipped",
    }  # fmt: skip


async def test_7_compensations_in_reverse_order_and_one_that_fails(bench: Bench) -> None:
    undo = {"kind": "work", "input": {}}
    id = await bench.finish(
        work("a", compensate=undo),
        work("b", "a", compensate={"kind": "work", "input": {"fails": 9}}),
        work("c", "b", fails=1, compensate=undo),
    )
    assert bench.world.begun == ["a", "b", "c", "b'", "a'"]
    run = bench.run(id)
    assert (run["status"], run["error"]["step"]) == ("failed", "c")
    ends = [(each["step"], each["status"], each["message"]) for each in run["error"]["compensations"]]
    assert ends == [("b", "failed", "attempt 1 failed"), ("a", "succeeded", None)]


async def test_8_a_timer_of_30_minutes_over_a_closed_lid(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "PT30M"}))
    assert bench.status(id) == "waiting"
    await bench.advance(7200)  # closed at 12:00, opened at 14:00
    assert (await bench.until(id))["status"] == "succeeded"
    timer = bench.steps(id)["t"]
    assert timer["output"]["late_by"] == "PT1H30M"
    assert timer["late_by_ms"] == 90 * 60_000
    await bench.advance(7200)
    assert bench.events("step.finished", "run.finished") == ["step.finished", "run.finished"]


async def test_8_the_same_when_the_daemon_was_killed_meanwhile(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "PT30M"}))
    await bench.crash()
    bench.box.clock.advance(7200)
    await bench.restart()
    await bench.until(id)
    assert bench.steps(id)["t"]["output"]["late_by"] == "PT1H30M"
    assert bench.events("step.finished", "run.finished") == ["step.finished", "run.finished"]
