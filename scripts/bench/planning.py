"""Planning's questions at size: `ready`, `next` and `blocked` at 10,000 open tasks, `schedule` with 20,000 links.

A kernel on a real file, called as a transport does it: from JSON to JSON, in a reader's thread, no socket between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from measure import Figure, main, median
from servers import folders

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.principal import OWNER

OPEN = 10_000
LINKS = 3_000
SCHEDULED_LINKS = 20_000
ROUNDS = 15
TODAY = "2026-11-06"

Ask = Callable[..., Coroutine[Any, Any, bytes]]


def _tasks(links: int) -> list[dict[str, Any]]:
    """Return open tasks as an import takes them, the same ones in every run: one link in six a parent."""
    rng = random.Random(7)  # noqa: S311 - figures are to be compared, not guarded
    linked: dict[int, set[tuple[str, int]]] = {}
    stated, under = 0, set[int]()
    while stated < links:
        first, second = sorted(rng.sample(range(OPEN), 2))
        kind = "parent" if rng.random() < 1 / 6 and second not in under else "blocks"
        if any(other == first for _, other in linked.setdefault(second, set())):
            continue
        under |= {second} if kind == "parent" else set()
        linked[second].add((kind, first))
        stated += 1
    return [_task(rng, number, sorted(linked.get(number, ()))) for number in range(OPEN)]


def _task(rng: random.Random, number: int, links: list[tuple[str, int]]) -> dict[str, Any]:
    due = {"due": f"2026-{rng.randint(11, 12)}-{rng.randint(1, 28):02}"} if rng.random() < 0.3 else {}
    return due | {
        "id": f"bench-{number}",
        "title": f"Task {number}: mend the hinge of the left door",
        "description": "It creaks when it is opened slowly, and does not close by itself.",
        "created_at": f"2026-{rng.randint(1, 10):02}-{rng.randint(1, 28):02}T08:00:00.000Z",
        "status": "doing" if rng.random() < 0.02 else "todo",
        "priority": rng.choice(["none", "none", "low", "medium", "high", "urgent"]),
        "tags": ["house", "door"][: rng.randint(0, 2)],
        "estimate_minutes": rng.choice([30, 60, 240, 480, 960]),
        "links": [{"kind": kind, "target": f"bench-{other}", "inward": kind == "blocks"} for kind, other in links],
    }


async def _filled(folder: Path, links: int) -> tuple[Kernel, Ask]:
    """Return a running kernel with the tasks in it, and how to call it."""
    kernel = Kernel(folder)
    kernel.load([Plugin("planning", Source.BUNDLED, "coder_plugins.planning")])
    kernel.open()
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)

    async def ask(name: str, /, **input: Any) -> bytes:
        return await kernel.dispatcher.call(name, msgspec.json.encode(input), OWNER)

    await ask("planning.import_records", format="beads", tasks=_tasks(links))
    return kernel, ask


async def _times(ask: Ask, calls: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the median of each call in milliseconds; the calls take turns, and a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, input in calls.items():
            begun = time.perf_counter()
            await ask(name, **input)
            taken[name].append((time.perf_counter() - begun) * 1e3)
    return {name: median(each[1:]) for name, each in taken.items()}


async def _measure() -> list[Figure]:
    with folders("open", "scheduled") as (first, second):
        kernel, ask = await _filled(first, LINKS)
        names = ("planning.ready", "planning.next", "planning.blocked")
        open_ = await _times(ask, {name: {"today": TODAY} for name in names})
        kernel.store.close()
        kernel, ask = await _filled(second, SCHEDULED_LINKS)
        scheduled = await _times(ask, {"planning.schedule": {"start": TODAY}})
        kernel.store.close()
    at = f"{OPEN:,} open tasks, {LINKS:,} links"
    return [
        Figure(f"`ready`, {at}", "ms", open_["planning.ready"], None, 50),
        Figure(f"`next`, {at}", "ms", open_["planning.next"], None, 50),
        Figure(f"`blocked`, {at}", "ms", open_["planning.blocked"], None, float("inf"), note="no goal set"),
        Figure(
            f"`schedule`, {OPEN:,} open tasks, {SCHEDULED_LINKS:,} links",
            "ms", scheduled["planning.schedule"], None, 1000,
        ),
    ]  # fmt: skip


def run() -> list[Figure]:
    """Measure."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    main(run, {})
