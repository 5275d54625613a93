"""Times: of an attempt, of all attempts, in the queue, by the clock on the wall, and of a whole run."""

from __future__ import annotations

import os

import pytest

from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, pool, step, work

PLAIN = {"max": 9, "first": "PT0S", "jitter": "none"}


async def test_an_attempt_that_takes_too_long(bench: Bench) -> None:
    id = await bench.finish(work("a", hold=True, timeout="PT0.05S"))
    error = bench.steps(id)["a"]["error"]
    assert (error["word"], error["message"]) == ("timeout", "it took longer than 0.05 s and was stopped")
    assert bench.run(id)["status"] == "failed"
    assert bench.world.ended == ["a"]


async def test_each_attempt_has_its_own_time(bench: Bench) -> None:
    id = await bench.finish(work("a", hold=True, timeout="PT0.02S", retry={**PLAIN, "max": 3, "on": ["timeout"]}))
    assert [each["error"]["word"] for each in bench.attempts(id, "a")] == ["timeout"] * 3


async def test_all_attempts_together(bench: Bench) -> None:
    more = {"timeout": "PT0.05S", "total_timeout": "PT0.12S", "retry": PLAIN}
    id = await bench.finish(work("a", hold=True, **more))
    attempts = bench.attempts(id, "a")
    assert len(attempts) == 3
    assert attempts[0]["timeout_ms"] == 50
    assert attempts[2]["timeout_ms"] < 50, "the last one has what is left"
    assert bench.steps(id)["a"]["active_ms"] >= 120


async def test_too_long_in_the_queue(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=1))
    first = bench.start(pool("a", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    id = bench.start(pool("b", queue_timeout="PT10S"))
    await bench.advance(9)
    assert bench.statuses(id)["b"] == "ready"
    await bench.advance(1)
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"]) == ("failed", "queue_timeout")
    assert bench.world.begun == ["a"]
    assert bench.status(first) == "running"


async def test_in_time_out_of_the_queue(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=1))
    bench.start(pool("a", hold=True))
    id = bench.start(pool("b", queue_timeout="PT10S"))
    bench.world.let_go("a")
    await bench.until(id)
    await bench.advance(20)
    assert bench.steps(id)["b"]["status"] == "succeeded"


async def test_too_long_in_the_queue_for_a_resource(bench: Bench) -> None:
    bench.start(work("a", hold=True, resources=["port"]))
    await bench.world.until(lambda: bench.world.begun)
    id = bench.start(work("b", resources=["port"], queue_timeout="PT10S"))
    await bench.until_step(id, "b", "waiting")
    await bench.advance(10)
    await bench.until_step(id, "b", "failed")
    assert bench.steps(id)["b"]["error"]["word"] == "queue_timeout"


@pytest.mark.parametrize("kind", ["approval", "signal"])
async def test_nobody_decides_in_time(bench: Bench, kind: str) -> None:
    input = {"prompt": "?"} if kind == "approval" else {"name": "go"}
    id = bench.start(step("w", kind, input, deadline="PT1H"))
    await bench.advance(3599)
    assert bench.status(id) == "waiting"
    await bench.advance(1)
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"]) == ("failed", "deadline")
    assert run["error"]["message"] == f"step w failed: its deadline passed while it waited for: {kind}"


async def test_a_default_is_taken_in_time(bench: Bench) -> None:
    asked = {"prompt": "?", "choices": ["left", "right"], "default": "left"}
    id = bench.start(step("w", "approval", asked, deadline="PT1H"))
    await bench.advance(3600)
    await bench.until(id)
    assert bench.steps(id)["w"]["output"] == {"decision": "left", "by": "deadline", "payload": None}


async def test_a_deadline_of_a_sub_run_stops_it(bench: Bench) -> None:
    id = bench.start(step("s", "sub_run", {"steps": [work("a", hold=True)]}, deadline="PT1H"))
    await bench.world.until(lambda: bench.world.begun)
    child = bench.waits(id)["s"]["name"]
    await bench.advance(3600)
    assert (await bench.until(id))["error"]["word"] == "deadline"
    assert (await bench.until(child))["status"] == "cancelled"
    assert bench.world.ended == ["a"]


async def test_a_deadline_of_a_step_that_works_and_waits_between(bench: Bench) -> None:
    retry = {"max": 9, "first": "PT30M", "factor": 1, "cap": "PT30M", "jitter": "none"}
    id = bench.start(work("a", fails=9, deadline="PT1H", retry=retry))
    await bench.until_step(id, "a", "waiting")
    await bench.advance(1800)
    await bench.until_step(id, "a", "waiting")
    await bench.advance(1800)
    run = await bench.until(id)
    assert run["status"] == "failed"
    assert run["error"]["word"] == "deadline"
    assert len(bench.attempts(id, "a")) == 2


async def test_a_deadline_of_a_step_that_works_stops_it(bench: Bench) -> None:
    """A sleep of eight hours passes by the clock on the wall alone, and is found at the next look at it."""
    id = bench.start(work("a", hold=True, deadline="PT1H", timeout="PT10H", retry={"max": 3}), work("b", hold=True))
    await bench.world.until(lambda: bench.world.now["work"] == 2)
    await bench.advance(3599)
    assert bench.statuses(id) == {"a": "running", "b": "running"}
    await bench.advance(8 * 3600)
    assert (await bench.until_step(id, "a", "failed"))["error"] == {
        "word": "deadline", "message": "its deadline passed while it worked, and it was stopped", "data": {},
    }  # fmt: skip
    assert bench.world.ended == ["a"]
    assert [each["state"] for each in bench.attempts(id, "a")] == ["failed"]
    bench.world.let_go()
    await bench.until(id)
    assert bench.waits(id) == {}


@pytest.mark.alone
@pytest.mark.skipif(os.name == "nt", reason="it is a shell of POSIX")
async def test_a_deadline_that_passed_while_the_daemon_was_down_stops_what_is_looked_after(bench: Bench) -> None:
    id = bench.start(step("c", "command", {"shell": "sleep 60"}, deadline="PT1H"))
    await bench.until_step(id, "c", "running")
    await bench.crash()
    bench.box.clock.advance(7200)
    await bench.restart()
    assert (await bench.until_step(id, "c", "failed"))["error"]["word"] == "deadline"
    assert bench.waits(id) == {}


async def test_a_step_whose_deadline_passed_in_the_queue_does_not_begin(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=1))
    id = bench.start(pool("x", hold=True, deadline="PT1H", retry={"max": 2, "first": "PT0S"}, fails=1))
    await bench.world.until(lambda: bench.world.begun)
    rival = bench.start(pool("y", hold=True), priority=9)
    bench.world.let_go("x")
    await bench.world.until(lambda: "y" in bench.world.begun)
    await bench.until_step(id, "x", "ready")
    await bench.advance(3600)
    bench.world.let_go()
    await bench.until(rival)
    assert (await bench.until(id))["error"]["word"] == "deadline"
    assert bench.world.begun == ["x", "y"]


async def test_the_deadline_of_a_run(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), step("t", "timer", {"duration": "P1D"}), work("b", "a"), deadline="PT1H")
    await bench.world.until(lambda: bench.world.begun)
    await bench.advance(3599)
    assert bench.status(id) == "running"
    await bench.advance(1)
    run = await bench.until(id)
    assert (run["status"], run["error"]["message"]) == ("timed_out", "its deadline passed")
    assert bench.statuses(id) == {"a": "cancelled", "t": "cancelled", "b": "cancelled"}
    assert bench.waits(id) == {}
    assert bench.world.ended == ["a"]


async def test_the_deadline_of_a_run_that_passed_while_the_daemon_was_down(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "P1D"}), deadline="PT1H")
    await bench.crash()
    bench.box.clock.advance(7200)
    await bench.restart()
    assert (await bench.until(id))["status"] == "timed_out"


@pytest.mark.parametrize("again", ["retry", "rewind"])
async def test_a_run_made_from_one_with_a_deadline_is_given_as_long_again(bench: Bench, again: str) -> None:
    id = bench.start(work("a"), work("b", "a", hold=True), deadline="PT1H")
    await bench.world.until(lambda: "b" in bench.world.begun)
    await bench.advance(3600)
    assert (await bench.until(id))["status"] == "timed_out"
    more = {"step": "b"} if again == "rewind" else {}
    new = bench.call(f"execution.runs.{again}", id=id, **more)["run"]["id"]
    await bench.advance(3599)
    assert (bench.run(new)["deadline"], bench.status(new)) == ("PT1H", "running")
    await bench.advance(1)
    assert (await bench.until(new))["status"] == "timed_out"
