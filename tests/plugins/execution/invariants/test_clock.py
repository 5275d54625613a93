"""The clock on the wall jumps, is set, goes through daylight saving and a leap day: what is due comes once, in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from coder_local.api import Invalid, parse_instant
from coder_plugins.execution.engine import engine as engines

from .enumeration import step
from .harness import Session
from .world import World

HOUR = 3_600


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    session = Session(World())
    await session.begin()
    yield session
    await session.close()


def start(session: Session, *steps: dict[str, Any]) -> str:
    return str(session.box.call("execution.start", steps=list(steps))["run"]["id"])


def timer(**input: str) -> dict[str, Any]:
    return step("wait", "timer", input=input)


async def pass_(session: Session, seconds: float) -> None:
    """Move the clock, and let the engine look at it."""
    session.box.clock.advance(seconds)
    assert session.engine is not None
    session.engine.wake()
    await session.settle()
    assert session.faults == []


def set_to(session: Session, instant: str) -> None:
    session.box.clock.ms = round(parse_instant(instant).timestamp() * 1000)


def waited(session: Session, run: str) -> dict[str, Any]:
    found = session.box.call("execution.steps.get", run=run, step="wait")["step"]
    return dict(found)


def jumps(session: Session) -> list[int]:
    return [said.data["seconds"] for said in session.box.events if said.type == "execution.clock.jumped"]


def times_fired(session: Session, run: str) -> int:
    return sum(
        1
        for said in session.box.events
        if said.type == "execution.step.finished" and said.data["step"] == f"{run}/wait"
    )


async def test_eight_hours_of_sleep(session: Session) -> None:
    run = start(session, timer(duration="PT1H"))
    await session.settle()
    await pass_(session, 8 * HOUR)
    assert session.status(run) == "succeeded"
    assert waited(session, run)["late_by_ms"] == 7 * HOUR * 1000
    assert waited(session, run)["output"]["late_by"] == "PT7H"
    assert jumps(session) == [8 * HOUR]
    await pass_(session, 8 * HOUR)
    assert times_fired(session, run) == 1


async def test_eight_hours_in_which_the_daemon_was_down(session: Session) -> None:
    run = start(session, timer(duration="PT1H"))
    await session.settle()
    await session.bury()
    session.box.clock.advance(8 * HOUR)
    await session.begin()
    await session.settle()
    assert session.status(run) == "succeeded"
    assert waited(session, run)["late_by_ms"] == 7 * HOUR * 1000
    assert jumps(session) == [], "no engine saw the clock move"
    assert times_fired(session, run) == 1


async def test_a_clock_that_is_set_back(session: Session) -> None:
    run = start(session, timer(duration="PT30M"))
    await session.settle()
    await pass_(session, -HOUR)
    assert jumps(session) == [-HOUR]
    await pass_(session, HOUR)  # as late as it was when it began
    await pass_(session, HOUR / 2 - 1)
    assert session.status(run) == "waiting", "it is due by the clock on the wall, and not before"
    await pass_(session, 1)
    assert session.status(run) == "succeeded"
    assert waited(session, run)["late_by_ms"] == 0
    await pass_(session, -HOUR)
    await pass_(session, 2 * HOUR)
    assert times_fired(session, run) == 1


async def test_a_clock_that_is_set_back_just_after_it_fired(session: Session) -> None:
    run = start(session, timer(duration="PT1M"), step("after", "w.keyed", "wait"))
    await session.settle()
    await pass_(session, 60)
    assert session.status(run) == "succeeded"
    await pass_(session, -HOUR)
    await session.bury()
    await session.begin()
    await pass_(session, 2 * HOUR)
    assert times_fired(session, run) == 1
    assert session.world.effects[run, "after"] == 1


DAYLIGHT = {
    # in Berlin the clock went from 02:00 to 03:00 at 01:00 UTC, and back from 03:00 to 02:00 half a year later
    "spring": ("2026-03-28T21:00:00Z", "2026-03-29T06:00:00Z", 9),  # 22:00 to 08:00 on the wall
    "autumn": ("2026-10-24T20:00:00Z", "2026-10-25T07:00:00Z", 11),  # 22:00 to 08:00 on the wall
}


@pytest.mark.parametrize("season", DAYLIGHT)
async def test_daylight_saving_moves_no_instant(session: Session, season: str) -> None:
    begun, due, hours = DAYLIGHT[season]
    set_to(session, begun)
    run = start(session, timer(until=due))
    day = start(session, timer(duration="PT24H"))
    await session.settle()
    for _ in range(hours - 1):
        await pass_(session, HOUR)
    assert session.status(run) == "waiting"
    await pass_(session, HOUR)
    assert session.status(run) == "succeeded"
    assert parse_instant(waited(session, run)["finished_at"]) == parse_instant(due)
    assert waited(session, run)["late_by_ms"] == 0
    await pass_(session, (24 - hours) * HOUR - 1)
    assert session.status(day) == "waiting", "a duration is that long, whatever the clocks show"
    await pass_(session, 1)
    assert session.status(day) == "succeeded"
    assert [times_fired(session, each) for each in (run, day)] == [1, 1]


async def test_an_instant_may_be_given_with_the_offset_of_a_place(session: Session) -> None:
    """02:30 came twice that night in Berlin, one hour apart; the offset tells which is meant."""
    set_to(session, "2026-10-24T20:00:00Z")
    first = start(session, timer(until="2026-10-25T02:30:00+02:00"))
    second = start(session, timer(until="2026-10-25T02:30:00+01:00"))
    await session.settle()
    set_to(session, "2026-10-25T00:30:00Z")
    await pass_(session, 0)
    assert [session.status(first), session.status(second)] == ["succeeded", "waiting"]
    await pass_(session, HOUR)
    assert session.status(second) == "succeeded"


async def test_a_leap_day(session: Session) -> None:
    set_to(session, "2028-02-28T12:00:00Z")
    day, until = start(session, timer(duration="P1D")), start(session, timer(until="2028-02-29T12:00:00Z"))
    march = start(session, timer(until="2028-03-01T00:00:00Z"))
    await session.settle()
    await pass_(session, 24 * HOUR)
    assert [session.status(each) for each in (day, until, march)] == ["succeeded", "succeeded", "waiting"]
    assert waited(session, day)["finished_at"].startswith("2028-02-29T12:00:00")
    await pass_(session, 12 * HOUR)
    assert session.status(march) == "succeeded"
    with pytest.raises(Invalid):
        start(session, timer(until="2027-02-29T12:00:00Z"))


async def test_a_jump_is_noticed_without_anything_that_happens(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine sleeps by the other clock, which stood still; it looks now and then all the same."""
    monkeypatch.setattr(engines, "LOOK_S", 0.01)
    run = start(session, timer(duration="PT1H"))
    await session.settle()
    session.box.clock.advance(8 * HOUR)
    async with asyncio.timeout(20):
        async for _ in session.box.items("execution.runs.follow", id=run):
            pass
    assert session.status(run) == "succeeded"
    assert jumps(session) == [8 * HOUR]


async def test_sleep_is_no_part_of_an_attempt(session: Session) -> None:
    """An attempt has its ten minutes by the clock that counts: a closed lid does not fail it."""
    run = start(session, step("work", "w.adoptable", input={"holds": True}))
    await session.settle()
    await pass_(session, 8 * HOUR)
    assert session.steps(run) == {"work": "running"}
    session.world.gates[run, "work"].set()
    await session.settle()
    assert session.status(run) == "succeeded"


@pytest.mark.parametrize("seconds", [HOUR, 8 * HOUR])
async def test_a_deadline_is_over_by_the_clock_on_the_wall(session: Session, seconds: int) -> None:
    ask = step("ask", "approval", input={"prompt": "Go on?", "default": "approve"}, deadline="PT1H")
    run, strict = start(session, ask), start(session, {**ask, "input": {"prompt": "Go on?"}})
    await session.settle()
    await pass_(session, seconds)
    assert [session.status(each) for each in (run, strict)] == ["succeeded", "failed"]


async def test_many_times_that_are_due_at_once_come_once_each(session: Session) -> None:
    """Eight hours of sleep over more timers than one turn lets go."""
    run = start(session, step("wait", "timer", foreach=list(range(1_200)), input={"duration": "PT1H"}))
    await session.settle()
    await pass_(session, 8 * HOUR)
    assert session.status(run) == "succeeded"
    fired = [said.data["key"] for said in session.box.events if said.type == "execution.step.finished"]
    assert len(fired) == len(set(fired)) == 1_201
    late = {each for (each,) in session.base.execute("SELECT late_by_ms FROM execution_steps WHERE role = 'item'")}
    assert late == {7 * HOUR * 1000}
