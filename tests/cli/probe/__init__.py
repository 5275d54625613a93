"""Probe: one operation of each kind and danger, and a field of each type, for the tests of the command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from msgspec import Meta

from coder_local.api import Context, Domain, LocalDate, Safety, Snapshot, Value

domain = Domain("probe")

_hanging = asyncio.Event()
_cancelled = asyncio.Event()


class Shape(Value):
    """A form with a size."""

    name: str
    size: int = 1


@domain.query("probe.echo")
def echo(
    read: Snapshot,
    *,
    text: str,
    count: Annotated[int, Meta(ge=1, le=9, description="How often, 100 % of the time.")] = 1,
    ratio: float | None = None,
    loud: bool = False,
    level: Literal["low", "middle", "high"] = "low",
    day: LocalDate | None = None,
    tags: list[str] | None = None,
    shapes: list[Shape] | None = None,
    extra: dict[str, Any] | None = None,
    either: int | str | None = None,
    timeout: int | None = None,
) -> dict[str, Any]:
    """Return what was given.

    Nothing is lost on the way: not %(prog)s, not 50%.
    """
    return {name: value for name, value in locals().items() if name != "read"}


class Span(Value):
    """How long something takes."""

    likely: int
    high: int | None = None


class Plan(Value):
    """What is thought of."""

    span: Span | None = None
    days: list[LocalDate] = []
    dropped: bool = False


class Line(Value):
    """A line of a list."""

    text: str
    done: bool = False


@domain.query("probe.plan")
def plan(
    read: Snapshot, *, plan: Plan | None = None, span: Span | None = None, lines: list[Line] | None = None
) -> dict[str, Any]:
    """Return what was planned."""
    return {"plan": plan, "span": span, "lines": lines}


@domain.query("probe.tie")
def tie(read: Snapshot, *, source: str, target: str, kind: Literal["blocks", "relates"], note: str = "") -> list[str]:
    """Return two things and how they are tied."""
    return [source, kind, target, note]


@domain.query("probe.rows")
def rows(read: Snapshot, *, ids: list[str]) -> list[dict[str, Any]]:
    """Return a row for each id, with a text that tries to steer the terminal."""
    return [{"id": id, "title": f"\x1b[31m{id}\u202e", "note": "日本語 text"} for id in ids]


@domain.action("probe.work", safety=Safety.READ)
async def work(ctx: Context, *, steps: int = 3) -> str:
    """Report progress."""
    for step in range(steps):
        ctx.progress(step + 1, steps, f"step {step + 1}")
    return "worked"


@domain.action("probe.hang", safety=Safety.READ)
async def hang(ctx: Context) -> None:
    """Wait until it is cancelled."""
    _hanging.set()
    try:
        await asyncio.Event().wait()
    finally:
        _hanging.clear()
        _cancelled.set()


@domain.action("probe.until_hanging", safety=Safety.READ)
async def until_hanging(ctx: Context) -> None:
    """Wait until a call of `probe.hang` waits."""
    await _hanging.wait()


@domain.action("probe.until_cancelled", safety=Safety.READ)
async def until_cancelled(ctx: Context) -> None:
    """Wait until a call of `probe.hang` was cancelled."""
    await _cancelled.wait()
    _cancelled.clear()


@domain.stream("probe.count")
async def count(ctx: Context, *, to: int = 3) -> AsyncIterator[int]:
    """Count from 0."""
    for number in range(to):
        yield number


@domain.action("probe.erase", safety=Safety.DESTRUCTIVE)
async def erase(ctx: Context, *, id: str) -> str:
    """Lose something for good."""
    return f"{id} is gone"
