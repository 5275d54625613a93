"""Places where a run could stand still for ever: each was found by the machine, and is played here alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .enumeration import mark, step
from .harness import ENDED, Session
from .world import World

HELD = {"holds": True}


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    session = Session(World())
    await session.begin()
    yield session
    await session.close()


def start(session: Session, *steps: dict[str, Any], **rest: Any) -> str:
    return str(session.box.call("execution.start", steps=list(steps), **rest)["run"]["id"])


def let_go(session: Session, run: str, key: str) -> None:
    session.world.gates[run, key].set()


async def settled(session: Session, run: str) -> str:
    """Return the status of a run when nothing is left to do."""
    await session.settle()
    assert session.faults == []
    return session.status(run)


async def test_a_step_that_is_left_out_passes_the_resource_on(session: Session) -> None:
    """One success is enough: the next in the queue had its turn, and is left out; the third must not wait for ever."""
    run = start(session, step("each", "w.read", foreach=[0, 1, 2], fan_in="any", resources=["port"]))
    assert await settled(session, run) == "succeeded"


async def test_a_run_that_is_held_does_not_stand_in_the_queue_for_a_resource(session: Session) -> None:
    first = start(session, step("a", "w.read", input=HELD, resources=["port"]))
    second, third = (start(session, step("a", "w.read", resources=["port"])) for _ in range(2))
    await session.settle()
    session.box.call("execution.runs.pause", id=second)
    let_go(session, first, "a")
    assert await settled(session, third) == "succeeded"
    assert session.status(second) == "paused"
    session.box.call("execution.runs.resume", id=second)
    assert await settled(session, second) == "succeeded"


async def test_a_step_that_waits_for_another_resource_passes_on_the_one_it_was_given(session: Session) -> None:
    first = start(session, step("a", "w.read", input=HELD, resources=["port"]))
    second = start(session, step("a", "w.read", input=HELD, resources=["disk"]))
    both = start(session, step("a", "w.read", resources=["port", "disk"]))
    third = start(session, step("a", "w.read", resources=["port"]))
    await session.settle()
    let_go(session, first, "a")
    assert await settled(session, third) == "succeeded", "the port is free, and the one before waits for the disk"
    assert session.status(both) == "waiting"
    let_go(session, second, "a")
    assert await settled(session, both) == "succeeded"


async def test_a_program_begins_in_the_turn_in_which_another_step_makes_room_for_it(session: Session) -> None:
    """The step before it in the run's own queue turns out to have to wait; nothing else would wake the engine."""
    first = start(session, step("a", "w.read", input=HELD, resources=["port"]))
    await session.settle()
    run = start(session, step("b", "w.read", resources=["port"]), step("c", "w.adoptable"), parallel=1)
    await session.settle()
    assert session.steps(run) == {"b": "waiting", "c": "succeeded"}
    let_go(session, first, "a")
    assert await settled(session, run) == "succeeded"


@pytest.mark.parametrize("kind", ["w.read", "w.once"])
async def test_a_step_that_a_crash_cut_off_does_not_keep_its_resource(session: Session, kind: str) -> None:
    """Another one of its fan-out may come before it now, and would wait for what it holds, and it for that one."""
    rest = {"foreach": [0, 1, 2], "max_parallel": 1, "resources": ["port"]}
    run = start(session, step("each", kind, input=HELD, **rest))
    await session.settle()
    await session.bury()
    await session.begin()
    await session.settle()
    for _ in range(10):
        for gate in session.world.gates.values():
            gate.set()
        await session.settle()
        if session.status(run) not in ENDED:
            session.attend()
    assert await settled(session, run) == "succeeded"


@pytest.mark.parametrize("kind", ["w.keyed", "w.checkable", "w.adoptable", "w.once"])
async def test_what_undoes_a_cancelled_run_is_not_cancelled(session: Session, kind: str) -> None:
    start(session, step("other", "w.read", input=HELD))  # the engine has something else to do all the while
    run = start(
        session,
        mark("done", compensate={"kind": kind, "input": HELD}),
        step("long", "w.adoptable", "done", input=HELD),
    )
    await session.settle()
    session.box.call("execution.runs.cancel", id=run, compensate=True)
    await session.settle()
    session.advance("2026-01-01T01:00:00Z")  # one more turn of the engine, while it goes on
    await session.settle()
    let_go(session, run, "done'")
    assert await settled(session, run) == "cancelled"
    assert session.steps(run) == {"done": "succeeded", "long": "cancelled", "done'": "succeeded"}
    assert session.world.effects[run, "done'"] == 1
