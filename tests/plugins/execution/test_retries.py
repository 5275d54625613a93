"""Attempts again: how long is waited, what is tried again, and what a timer waits for."""

from __future__ import annotations

import random

import pytest

from coder_local.api import parse_instant
from coder_plugins.execution.definitions.records import Retry
from coder_plugins.execution.machine import attempts
from coder_plugins.execution.rules import retries

from .bench import Bench, operation, step, work

PLAIN = {"max": 3, "first": "PT1S", "jitter": "none"}


def test_full_jitter_is_an_even_part_of_the_whole_wait() -> None:
    retry, chance = Retry(max=9, first="PT2S"), random.Random(1)
    for failed in range(1, 9):
        longest = min(100.0, 2.0**failed)
        assert retries.longest(retry, failed) == longest
        found = [retries.wait(retry, failed, chance) for _ in range(2_000)]
        assert 0 <= min(found) < longest * 0.01
        assert longest * 0.99 < max(found) <= longest
        assert abs(sum(found) / len(found) - longest / 2) < longest * 0.03


def test_the_longest_wait_of_very_many_attempts_is_the_cap() -> None:
    assert retries.longest(Retry(max=1_000, factor=100), 999) == 100


async def test_the_wait_on_disk_is_within_the_bounds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Half:
        def random(self) -> float:
            return 0.5

    monkeypatch.setattr(attempts, "_chance", Half())
    id = bench.start(work("a", fails=1, retry={"max": 2, "first": "PT10S"}))
    await bench.until_step(id, "a", "waiting")
    due = parse_instant(bench.waits(id)["a"]["due_at"]).timestamp()
    assert due == bench.box.clock.ms / 1000 + 5
    assert bench.run(id)["status"] == "waiting"


async def test_it_succeeds_at_a_later_attempt_with_the_same_key(bench: Bench) -> None:
    id = bench.start(work("a", fails=2, retry=PLAIN))
    for seconds in (1, 2):
        await bench.until_step(id, "a", "waiting")
        await bench.advance(seconds)
    assert (await bench.until(id))["status"] == "succeeded"
    assert [attempt for _, attempt, _ in bench.world.seen] == [1, 2, 3]
    assert {key for _, _, key in bench.world.seen} == {f"{id}/a"}
    assert bench.steps(id)["a"]["error"] is None
    assert [each["state"] for each in bench.attempts(id, "a")] == ["failed", "failed", "done"]


async def test_only_some_errors_are_tried_again(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=9, word="exit", retry={**PLAIN, "on": ["timeout"]}))
    assert len(bench.attempts(id, "a")) == 1
    id = bench.start(work("a", fails=9, word="timeout", retry={**PLAIN, "on": ["timeout"]}))
    await bench.until_step(id, "a", "waiting")


async def test_what_cannot_help_is_not_tried_again(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=9, final=True, retry=PLAIN))
    assert len(bench.attempts(id, "a")) == 1


async def test_an_operation_that_fails_leaves_nothing_behind_and_is_tried_again(bench: Bench) -> None:
    id = bench.start(operation("a", "world.add", text="x", fails=True, more={"retry": PLAIN}))
    await bench.until_step(id, "a", "waiting")
    await bench.advance(1)
    await bench.until_step(id, "a", "waiting")
    await bench.advance(2)
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"]) == ("failed", "conflict")
    assert bench.world.calls == ["x"] * 3
    assert bench.call("world.things.list")["items"] == []
    assert "world.thing.said" not in bench.events()
    assert bench.attempts(id, "a")[0]["error"]["data"]["data"] == {"text": "x"}


async def test_a_wait_survives_a_crash(bench: Bench) -> None:
    id = bench.start(work("a", fails=1, retry=PLAIN))
    await bench.until_step(id, "a", "waiting")
    due = bench.waits(id)["a"]["due_at"]
    await bench.crash()
    await bench.restart()
    await bench.turn()
    assert bench.waits(id)["a"]["due_at"] == due
    await bench.advance(1)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_crash_is_no_failed_attempt(bench: Bench) -> None:
    id = bench.start(work("a", fails=3, hold=True, effect="repeatable", retry=PLAIN))
    await bench.world.until(lambda: bench.world.begun)
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    for seconds in (1, 2):
        await bench.until_step(id, "a", "waiting")
        await bench.advance(seconds)
    assert (await bench.until(id))["status"] == "succeeded"
    states = [each["state"] for each in bench.attempts(id, "a")]
    assert states == ["lost", "failed", "failed", "done"]


async def test_after_too_many_crashes_a_person_is_asked(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="repeatable"))
    for count in range(1, 5):
        await bench.world.until(lambda count=count: len(bench.world.begun) == count)
        await bench.crash()
        await bench.restart()
        if count < 4:
            await bench.until_step(id, "a", "running")
    await bench.until(id, "needs_decision")
    bench.call("execution.runs.resume", id=id, choice="retry")
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"


# -- timers -----------------------------------------------------------------------------------------------------------


async def test_a_timer_fires_at_its_moment_and_not_before(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "PT1H"}), work("a", "t"))
    await bench.advance(3599.999)
    assert bench.statuses(id) == {"t": "waiting", "a": "pending"}
    await bench.advance(0.001)
    await bench.until(id)
    assert bench.steps(id)["t"]["output"]["late_by"] == "PT0S"


@pytest.mark.parametrize("until", ["2026-01-01T02:00:00+01:00", "2026-01-01T01:00:00Z", "2025-12-31T17:00:00-08:00"])
async def test_a_timer_until_a_moment_in_any_zone(bench: Bench, until: str) -> None:
    assert bench.ctx.now() == "2026-01-01T00:00:00.000Z"
    id = bench.start(step("t", "timer", {"until": until}))
    await bench.advance(3599.999)
    assert bench.status(id) == "waiting"
    await bench.advance(0.001)
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_timer_that_was_due_before_it_began_fires_at_once(bench: Bench) -> None:
    id = await bench.finish(step("t", "timer", {"until": "2025-12-31T23:00:00Z"}))
    assert bench.steps(id)["t"]["output"]["late_by"] == "PT1H"


async def test_a_clock_that_is_set_back_lets_a_timer_wait_for_its_moment(bench: Bench) -> None:
    id = bench.start(step("t", "timer", {"duration": "PT10M"}))
    await bench.advance(-3600)
    await bench.advance(600)
    assert bench.status(id) == "waiting"
    await bench.advance(3600)
    assert (await bench.until(id))["status"] == "succeeded"
    jumps = [each.data["seconds"] for each in bench.box.events if each.type == "execution.clock.jumped"]
    assert jumps == [-3600, 600, 3600]
