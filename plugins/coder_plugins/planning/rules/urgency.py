"""How urgent each task is: a sum of terms that can be read one by one, after Taskwarrior's polynomial.

Coefficients are Taskwarrior's defaults (its manual, "urgency"): priority H 6.0, M 3.9, L 1.8; due 12.0; blocking 8.0;
active 4.0; age 2.0, reached after 365 days; tags 1.0; project 1.0. The priority `urgent`, which Taskwarrior has not,
is one more step of the same height: 8.1. Taskwarrior's terms for waiting and blocked tasks have no place here, because
only ready tasks are ranked.

A task takes the score of the most urgent task it unblocks, directly or not, when that is higher than its own
(Taskwarrior's `urgency.inherit`); the difference is the term `inherited`.

Scores are added up and compared as points, whole thousandths, so that equal ones are equal.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Literal

import msgspec

from . import reach
from .graph import Graph

PRIORITY = {"none": 0.0, "low": 1.8, "medium": 3.9, "high": 6.0, "urgent": 8.1}
DUE = 12.0
BLOCKING = 8.0
ACTIVE = 4.0
AGE = 2.0
AGE_DAYS = 365.0
TAGS = (0.0, 0.8, 0.9, 1.0)
PROJECT = 1.0
_BLOCKING_POINTS = 8_000


class Item(msgspec.Struct, frozen=True, gc=False):
    """A task as its urgency sees it.

    `due_in_days` is negative when overdue; `rank` is the key that decides between equal scores.
    """

    id: str
    rank: str = ""
    priority: Literal["none", "low", "medium", "high", "urgent"] = "none"
    due_in_days: float | None = None
    age_days: float = 0.0
    active: bool = False
    tags: int = 0
    project: bool = False


Place = tuple[int, str, str, *tuple[Any, ...]]
"""Where a task stands by its own urgency, blocking left out: its points, negative, its rank and its id, and the like.

A plain tuple, as it was read: there is one for every open task, and the less comes first.
"""


class Ranked(msgspec.Struct, frozen=True, gc=False):
    """A task that is proposed: its points, how many of them are inherited and from whom, and whether it blocks."""

    id: str
    points: int
    blocking: bool
    inherited: int = 0
    inherited_from: str | None = None

    @property
    def score(self) -> float:
        """The points as a score, to three decimals."""
        return self.points / 1000


def due_term(due_in_days: float) -> float:
    """Return the due term, 2.4 to 12.0: least 14 days ahead or more, greatest 7 days overdue or more."""
    overdue = -due_in_days
    if overdue >= 7:
        return DUE
    if overdue <= -14:
        return round(DUE * 0.2, 3)
    return round(DUE * ((overdue + 14) * 0.8 / 21 + 0.2), 3)


def terms(item: Item, *, blocking: bool, inherited: int = 0) -> dict[str, float]:
    """Return the terms of a task's urgency that are not 0, to three decimals, by name; `inherited` is in points."""
    age = min(max(item.age_days, 0), AGE_DAYS)
    found = {
        "priority": PRIORITY[item.priority],
        "due": 0.0 if item.due_in_days is None else due_term(item.due_in_days),
        "blocking": BLOCKING if blocking else 0.0,
        "active": ACTIVE if item.active else 0.0,
        "age": round(AGE * age / AGE_DAYS, 3),
        "tags": TAGS[min(item.tags, 3)],
        "project": PROJECT if item.project else 0.0,
        "inherited": inherited / 1000,
    }
    return {name: value for name, value in found.items() if value}


def points(value: float) -> int:
    """Return a term as points."""
    return round(value * 1000)


def rank(linked: Iterable[Place], graph: Graph, ready: Iterable[Place], *, limit: int) -> list[Ranked]:
    """Return the first `limit` of the tasks that are `ready`, most urgent first.

    Equal scores go by rank key and then by id. `linked` are the open tasks of `graph`, blocked ones too: their urgency
    is what the ready ones inherit. Tasks without links may be missing in `graph`.
    """
    blocking = _blocking(graph)
    positions = graph.positions
    own = [0] * len(graph.nodes)
    for place in linked:
        own[positions[place[2]]] = -place[0]
    for position in blocking:
        own[position] += _BLOCKING_POINTS
    origins = reach.inherit(graph, own)

    def with_links(place: Place) -> Place:
        position = positions[place[2]]
        return -own[origins.get(position, position)], place[1], place[2]

    scored = [with_links(place) if place[2] in positions else place for place in ready]
    return [
        _ranked(graph, place[2], -place[0], positions.get(place[2]), own, blocking, origins)
        for place in nsmallest(limit, scored)
    ]


def _ranked(
    graph: Graph,
    id: str,
    points: int,
    position: int | None,
    own: Sequence[int],
    blocking: Container[int],
    origins: Mapping[int, int],
) -> Ranked:
    if position is None:
        return Ranked(id, points, blocking=False)
    origin = origins.get(position)
    above = None if origin is None else graph.nodes[origin].id
    return Ranked(id, points, position in blocking, inherited=points - own[position], inherited_from=above)


def _blocking(graph: Graph) -> set[int]:
    found: set[int] = set()
    for source, targets in graph.blocks.items():
        for target in targets:
            if graph.open[target]:
                found.add(source)
                break
    return found
