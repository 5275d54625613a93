"""How urgent each task is: a sum of terms that can be read one by one, after Taskwarrior's polynomial.

Coefficients are Taskwarrior's defaults (its manual, "urgency"): priority H 6.0, M 3.9, L 1.8; due 12.0; blocking 8.0;
active 4.0; age 2.0, reached after 365 days; tags 1.0; project 1.0. The priority `urgent`, which Taskwarrior has not,
is one more step of the same height: 8.1. Taskwarrior's terms for waiting and blocked tasks have no place here, because
only ready tasks are ranked.

A task takes the score of the most urgent task it unblocks, directly or not, when that is higher than its own
(Taskwarrior's `urgency.inherit`); the difference is the term `inherited`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Literal

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


class Ranked(msgspec.Struct, frozen=True):
    """A task with its score, the terms that add up to it, and the task its urgency is inherited from."""

    id: str
    score: float
    terms: dict[str, float]
    inherited_from: str | None = None


@lru_cache(maxsize=4096)
def due_term(due_in_days: float) -> float:
    """Return the due term, 2.4 to 12.0: least 14 days ahead or more, greatest 7 days overdue or more."""
    overdue = -due_in_days
    if overdue >= 7:
        return DUE
    if overdue <= -14:
        return round(DUE * 0.2, 3)
    return round(DUE * ((overdue + 14) * 0.8 / 21 + 0.2), 3)


def terms(item: Item, *, blocking: bool) -> dict[str, float]:
    """Return the terms of a task's own urgency that are not 0, to three decimals, by name."""
    found: dict[str, float] = {}
    priority = PRIORITY[item.priority]
    if priority:
        found["priority"] = priority
    if item.due_in_days is not None:
        found["due"] = due_term(item.due_in_days)
    if blocking:
        found["blocking"] = BLOCKING
    if item.active:
        found["active"] = ACTIVE
    age = round(AGE * min(item.age_days, AGE_DAYS) / AGE_DAYS, 3)
    if age > 0:
        found["age"] = age
    if item.tags:
        found["tags"] = TAGS[min(item.tags, 3)]
    if item.project:
        found["project"] = PROJECT
    return found


def score(item: Item, *, blocking: bool) -> float:
    """Return the sum of `terms`, without making them: it is asked for every open task."""
    total = PRIORITY[item.priority] + TAGS[min(item.tags, 3)]
    if item.due_in_days is not None:
        total += due_term(item.due_in_days)
    if blocking:
        total += BLOCKING
    if item.active:
        total += ACTIVE
    age = item.age_days
    if age > 0:
        total += AGE if age >= AGE_DAYS else round(AGE * age / AGE_DAYS, 3)
    if item.project:
        total += PROJECT
    return round(total, 3)


def rank(items: Iterable[Item], graph: Graph, ready: Collection[str], *, limit: int | None = None) -> list[Ranked]:
    """Return the first `limit` of the tasks `ready` with their scores, most urgent first.

    Equal scores go by rank key and then by id. `items` are the open tasks, blocked ones too: their urgency is what
    the ready ones inherit. A task that is in `items` but not in `graph` is passed over.
    """
    values = [0.0] * len(graph.nodes)
    known: dict[str, Item] = {}
    blocking = _blocking(graph)
    for item in items:
        position = graph.positions.get(item.id)
        if position is not None:
            known[item.id] = item
            values[position] = score(item, blocking=position in blocking)
    origins = reach.inherit(graph, values)
    order: list[tuple[float, str, str]] = []
    for id in ready:
        if id in known:
            position = graph.positions[id]
            order.append((-values[origins.get(position, position)], known[id].rank, id))
    order.sort()
    answer: list[Ranked] = []
    for negative, _, id in order[:limit]:
        position = graph.positions[id]
        told = terms(known[id], blocking=position in blocking)
        origin = origins.get(position)
        if origin is not None:
            told["inherited"] = round(-negative - values[position], 3)
        answer.append(Ranked(id, -negative, told, None if origin is None else graph.nodes[origin].id))
    return answer


def _blocking(graph: Graph) -> set[int]:
    found: set[int] = set()
    for source, targets in graph.blocks.items():
        for target in targets:
            if graph.open[target]:
                found.add(source)
                break
    return found
