"""One plan with everything in it, and the ways to play it: with an end of the engine at any boundary, or at two."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from .harness import ENDED, Session
from .world import World

ONLY_ONCE = {"w.once", "w.keyed", "w.checkable", "w.adoptable"}
"""Kinds whose effects must not be doubled."""


def _mark(key: str) -> dict[str, Any]:
    return {"operation": "world.mark", "input": {"label": f"${{{{ run.id }}}}/{key}"}}


def step(key: str, kind: str, *needs: str, **rest: Any) -> dict[str, Any]:
    """Return a step as it is written."""
    return {"key": key, "kind": kind, "needs": list(needs), **rest}


def mark(key: str, *needs: str, **rest: Any) -> dict[str, Any]:
    """Return a step that changes our own database."""
    return step(key, "operation", *needs, input=_mark(key), **rest)


NOW = {"max": 3, "first": "PT0S", "jitter": "none"}
LATER = {"max": 2, "first": "PT10S", "jitter": "none"}
PLAN: list[dict[str, Any]] = [
    step("read", "w.read"),
    mark("mark", "read", compensate={"kind": "operation", "input": _mark("mark'")}),
    step("pay", "w.once", "mark", compensate={"kind": "w.keyed", "input": {}}),
    step("send", "w.keyed", "mark", input={"fails": 1}, retry=NOW),
    step("edit", "w.checkable", "mark", compensate={"kind": "w.checkable", "input": {}}),
    step("build", "w.adoptable", "mark", input={"resource": "port"}, resources=["port"]),
    step("test", "w.adoptable", "mark", input={"resource": "port"}, resources=["port"]),
    step("again", "w.read", "read", input={"fails": 1}, retry=LATER),
    step("sleep", "timer", "read", input={"duration": "PT1H"}),
    step("ask", "approval", "pay", input={"prompt": "Go on?"}),
    step("early", "signal", "ask", input={"name": "sent-at-once"}),
    step("late", "signal", "ask", input={"name": "sent-when-asked-for"}),
    step("below", "sub_run", "read", input={"steps": [step("pay", "w.once"), mark("mark", "pay")]}),
    step("each", "w.keyed", "send", foreach=["a", "b", "c"], max_parallel=2),
    step(
        "bad",
        "w.read",
        "late",
        "early",
        "each",
        "build",
        "test",
        "edit",
        "sleep",
        "again",
        "below",
        input={"fails": -1},
    ),
    step("left", "w.once", "bad"),
    step("last", "w.keyed", "bad", run_if="always()"),
]
"""It fails at its end, so that it is undone."""


class Outcome(NamedTuple):
    """How a plan was played."""

    faults: list[str]
    boundaries: list[str]
    steps: dict[str, str]
    asked: int
    crashes: int


def play(
    plan: Sequence[dict[str, Any]] = PLAN, crash_at: Sequence[int] = (), *, linger: bool = False, limit: int = 60
) -> Outcome:
    """Play a plan to its end, or for as long as anything is done about it, with crashes at some boundaries."""
    return asyncio.run(_play(plan, crash_at, linger=linger, limit=limit))


async def _play(plan: Sequence[dict[str, Any]], crash_at: Sequence[int], *, linger: bool, limit: int) -> Outcome:
    world = World()
    world.crash_at = set(crash_at)
    session = Session(world, linger=linger)
    try:
        await session.begin()
        await session.settle()
        run = session.box.call("execution.start", steps=list(plan))["run"]["id"]
        session.box.call("execution.runs.signal", id=run, name="sent-at-once")
        for _ in range(limit):
            await session.settle()
            if session.faults or session.status(run) in ENDED or not session.attend():
                break
        await session.settle()
        return _judge(session, run)
    finally:
        await session.close()


def _judge(session: Session, run: str) -> Outcome:
    faults = session.faults
    if session.status(run) not in ENDED:
        faults.append(f"E7: the run is {session.status(run)} and does not come to its end: {session.steps(run)}")
    kinds = {
        (of, key): (kind, status)
        for of, key, kind, status in session.base.execute(
            "SELECT run, key, kind, status FROM execution_steps WHERE role <> 'fan_out'"
        )
    }
    for place, (kind, status) in kinds.items():
        count = session.world.effects[place]
        if kind in ONLY_ONCE and count != (status == "succeeded"):
            faults.append(f"{place[1]} is {status}, and happened {count} times")
    return Outcome(faults, session.world.boundaries, session.steps(run), session.asked, session.crashes)
