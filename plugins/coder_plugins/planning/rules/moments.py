"""The order in time that links impose: two moments for each task, its start and its finish.

What waits for what:

- a task finishes after it starts;
- A `blocks` B: B starts after A finishes;
- P `parent` C: C starts after P may start (so a blocked parent blocks its children), and P finishes after C finishes
  (a parent is complete only after its children).

One directed graph over these moments says everything that "acyclic together" means: two tasks may be related both as
parent and child and by blocking elsewhere, but a child that blocks its own parent, or a parent that blocks its own
child, could never be begun or never be finished, and shows as a cycle.

A task at position `p` has its start at `2 * p` and its finish at `2 * p + 1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec


class Link(msgspec.Struct, frozen=True, gc=False):
    """`source` blocks `target`, or `source` is the parent of `target`."""

    kind: Literal["blocks", "parent"]
    source: str
    target: str


def start(position: int) -> int:
    """Return the moment at which the task at `position` starts."""
    return 2 * position


def finish(position: int) -> int:
    """Return the moment at which the task at `position` finishes."""
    return 2 * position + 1


def followers(positions: Mapping[str, int], links: Iterable[Link]) -> list[list[int]]:
    """Return for each moment the moments that wait for it directly.

    Links that name a task outside `positions` are passed over.
    """
    after: list[list[int]] = [[] for _ in range(2 * len(positions))]
    for moment in range(0, len(after), 2):
        after[moment].append(moment + 1)
    for link in links:
        source, target = positions.get(link.source), positions.get(link.target)
        if source is None or target is None:
            continue
        if link.kind == "blocks":
            after[2 * source + 1].append(2 * target)
        else:
            after[2 * source].append(2 * target)
            after[2 * target + 1].append(2 * source + 1)
    return after


def topological(after: Sequence[Sequence[int]]) -> list[int]:
    """Return the moments in an order in which none comes before one it waits for.

    Moments on a cycle, and all that wait for them, are left out: a shorter answer means a cycle.
    """
    waiting = [0] * len(after)
    for targets in after:
        for target in targets:
            waiting[target] += 1
    order = [moment for moment, count in enumerate(waiting) if not count]
    for moment in order:
        for target in after[moment]:
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return order


def ring(after: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Return the moments of one cycle, each waited for by the next; [] when `order` left nothing out."""
    left = set(range(len(after))).difference(order)
    if not left:
        return []
    before: dict[int, int] = {}
    for moment in left:
        for target in after[moment]:
            if target in left:
                before[target] = moment
    # Every moment left out waits for another one left out, so walking back must come round.
    seen: dict[int, int] = {}
    walk: list[int] = []
    moment = min(left)
    while moment not in seen:
        seen[moment] = len(walk)
        walk.append(moment)
        moment = before[moment]
    return walk[seen[moment] :][::-1]
