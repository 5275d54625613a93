"""What may be asked when choosing: what can be done now, what first, and what waits for what."""

from __future__ import annotations

from datetime import date
from heapq import nsmallest
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from coder_local.api import LocalDate, Snapshot, Value
from coder_plugins.planning.records import Amount, Reference, domain
from coder_plugins.planning.rules import graph, recurrence, urgency
from coder_plugins.planning.rules.recurrence import Recurrence
from coder_plugins.planning.rules.urgency import Item, Ranked
from coder_plugins.planning.tasks.finding.operations import TaskLine, find_project, lines

from .records import BY_URGENCY, Question, WaitReason, ids_in, keys_of, load, tell, today_of, worth_of

Most = Annotated[int, Meta(ge=1, le=10_000, description="Tasks in the answer.")]
_ABOVE = {"low": ("energy:medium", "energy:high"), "medium": ("energy:high",), "high": ()}
"""By the energy at hand, the tags of tasks that take more."""


class Term(Value):
    """One term of a score."""

    name: Literal["priority", "due", "blocking", "active", "age", "tags", "project", "inherited"]
    value: float


class NextTask(Value):
    """A task that can be done now, and how urgent it is."""

    task: TaskLine
    score: float
    """The sum of the terms."""
    terms: list[Term]
    inherited_from: str | None = None
    """Key of the more urgent task that waits for this one, of which it takes the score."""
    missed: int = 0
    """Due dates of a fixed recurrence that have passed while it is open."""


class NextAnswer(Value):
    """Tasks to do, most urgent first."""

    items: list[NextTask]
    total: int
    """How many there are in all."""


class ReadyAnswer(Value):
    """Tasks that nothing blocks, in the order of the list."""

    items: list[TaskLine]
    total: int
    """How many there are in all."""


class BlockedTask(Value):
    """A task that waits."""

    task: TaskLine
    reasons: list[WaitReason]
    """What it waits for directly: its own hold, then open blockers, then what it inherits from ancestors."""
    chains: list[list[WaitReason]]
    """The ways to the roots of its waiting, at most 4 of them."""


class BlockedAnswer(Value):
    """Tasks that wait, in the order of the list."""

    items: list[BlockedTask]
    total: int
    """How many there are in all."""


@domain.query("planning.next")
def next(
    read: Snapshot,
    *,
    project: Reference | None = None,
    minutes: Amount | None = None,
    energy: Literal["low", "medium", "high"] | None = None,
    today: LocalDate | None = None,
    limit: Most = 10,
) -> NextAnswer:
    """Return what to do next: the ready tasks, most urgent first, each with the terms of its score.

    `minutes` keeps tasks that are likely done within that time (not those without an estimate); `energy` leaves out
    tasks tagged `energy:high` or `energy:medium` above it. Tasks of archived and paused projects are left out unless
    the project is named. Equal scores go by rank. A task takes the score of the most urgent task it unblocks.
    """
    day = today_of(read, today)
    above = () if energy is None else _ABOVE[energy]
    question = Question(day, _project_id(read, project), minutes, above)
    loaded = load(read, question, BY_URGENCY)
    ready = loaded.ready()
    ranked = urgency.rank(loaded.linked, loaded.graph, ready, limit=limit)
    told = lines(read, [each.id for each in ranked])
    worth = worth_of(read, told, day)
    keys = keys_of(read, {each.inherited_from for each in ranked if each.inherited_from})
    missed = _missed(read, list(told), day)
    items = [
        NextTask(
            task=told[each.id],
            score=each.score,
            terms=terms_of(worth[each.id], each),
            inherited_from=keys.get(each.inherited_from or ""),
            missed=missed.get(each.id, 0),
        )
        for each in ranked
    ]
    return NextAnswer(items=items, total=len(ready))


@domain.query("planning.ready")
def ready(
    read: Snapshot, *, project: Reference | None = None, today: LocalDate | None = None, limit: Most = 100
) -> ReadyAnswer:
    """Return the open tasks that can be worked on now: not held, not waiting for a day, and nothing open blocks them.

    A blocked parent blocks its children. Tasks of archived and paused projects are left out unless one is named.
    """
    question = Question(today_of(read, today), _project_id(read, project))
    found = load(read, question).ready()
    items = lines(read, [place[2] for place in nsmallest(limit, found)])
    return ReadyAnswer(items=list(items.values()), total=len(found))


@domain.query("planning.blocked")
def blocked(
    read: Snapshot, *, project: Reference | None = None, today: LocalDate | None = None, limit: Most = 50
) -> BlockedAnswer:
    """Return the open tasks that wait, each with its direct reasons and the chains of reasons to their roots."""
    loaded = load(read, Question(today_of(read, today), _project_id(read, project)))
    fit = {place[2] for place in loaded.fit}
    found = {id: reasons for id, reasons in graph.blocked(loaded.graph).items() if id in fit}
    first = list(found)[:limit]
    chains = {id: graph.chains(loaded.graph, id, limit=4) for id in first}
    told = lines(read, first)
    named = [reason for id in first for reason in (*found[id], *(step for chain in chains[id] for step in chain))]
    keys = keys_of(read, ids_in(named))
    items = [
        BlockedTask(task=told[id], reasons=tell(found[id], keys), chains=[tell(chain, keys) for chain in chains[id]])
        for id in first
    ]
    return BlockedAnswer(items=items, total=len(found))


def terms_of(item: Item, ranked: Ranked) -> list[Term]:
    """Return the terms of a score as a list, in the order in which they are added up."""
    terms = urgency.terms(item, blocking=ranked.blocking, inherited=ranked.inherited)
    return msgspec.convert([{"name": name, "value": value} for name, value in terms.items()], list[Term])


def _project_id(read: Snapshot, project: str | None) -> str | None:
    return None if project is None else find_project(read, project).id


def _missed(read: Snapshot, ids: list[str], today: str) -> dict[str, int]:
    """Return how many due dates each recurring task has missed, counted up to today."""
    rows = read.rows(
        "SELECT id, recurrence, due, missed FROM planning_tasks"
        " WHERE id IN (SELECT value FROM json_each(:ids)) AND recurrence IS NOT NULL AND due IS NOT NULL",
        ids=ids,
    )
    day = date.fromisoformat(today)
    found: dict[str, int] = {}
    for id, text, due, missed in rows:
        rule = msgspec.json.decode(text, type=Recurrence)
        try:
            found[id] = missed + recurrence.roll(rule, date.fromisoformat(due), day).missed
        except ValueError:  # too many to be counted: planning.tasks.roll says so, and the list is answered all the same
            found[id] = missed
    return found
