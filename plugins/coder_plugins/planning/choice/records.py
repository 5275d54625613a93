"""What choosing reads: tasks and links as the rules see them, never whole records; and reasons told with keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from itertools import starmap
from operator import itemgetter
from typing import Literal, LiteralString, NamedTuple

from coder_local.api import Snapshot, Value
from coder_plugins.planning.links.records import as_ordering
from coder_plugins.planning.rules import graph, urgency
from coder_plugins.planning.rules.graph import Graph, Node, Reason
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.urgency import Item, Place
from coder_plugins.planning.tasks.records import CATEGORY

_OPEN: LiteralString = (
    " FROM planning_tasks"
    " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace"
)
_HOLD: LiteralString = (
    "CASE WHEN hold_reason IS NOT NULL AND (hold_until IS NULL OR hold_until > :today) THEN hold_reason"
    " WHEN wait_until > :today THEN 'waits until ' || wait_until END"
)
_IN_PROJECT: LiteralString = "project IS :project"
_NOT_RESTING: LiteralString = "(project IS NULL OR project NOT IN (SELECT value FROM json_each(:resting)))"
_IN_TIME: LiteralString = (
    "coalesce(estimate ->> '$.likely' <= :minutes, 0)"
    " AND NOT EXISTS (SELECT 1 FROM planning_projects WHERE id = planning_tasks.project AND unit <> 'hours')"
)
_NOT_ABOVE: LiteralString = (
    "NOT EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN (SELECT value FROM json_each(:above)))"
)
IN_ORDER: LiteralString = "0"
"""Places as the list has them."""
BY_URGENCY: LiteralString = (
    "- CASE priority WHEN 'none' THEN 0 WHEN 'low' THEN :low WHEN 'medium' THEN :medium WHEN 'high' THEN :high"
    " ELSE :urgent END"
    " - CASE WHEN due IS NULL THEN 0 ELSE :due_least + CAST(round((:due - :due_least)"
    " * max(0, min(21, 14 + :day - julianday(due))) / 21) AS INTEGER) END"
    " - CASE WHEN status IN ('doing', 'review') THEN :active ELSE 0 END"
    " - CAST(round(:age * max(0, min(:age_days, :day - 0.5 - CAST(julianday(created_at) - 0.5 AS INTEGER)))"
    " / :age_days) AS INTEGER)"
    " - CASE tags WHEN '[]' THEN 0 ELSE CASE json_array_length(tags) WHEN 1 THEN :tag WHEN 2 THEN :two_tags"
    " ELSE :tags END END"
    " - CASE WHEN project IS NULL THEN 0 ELSE :in_project END"
)
"""Places by the terms of `rules.urgency` but for blocking, in points, negative; a test holds the two to each other.

SQLite adds them up for 10,000 tasks in less time than it takes to hand out the columns. Each function that it calls
for every row counts: `:day` is today's Julian day, at midnight, and a day begins at the half of one.
"""
_COEFFICIENTS: dict[str, float] = {
    **{name: urgency.points(value) for name, value in urgency.PRIORITY.items() if value},
    "due": urgency.points(urgency.DUE),
    "due_least": urgency.points(urgency.due_term(14)),
    "active": urgency.points(urgency.ACTIVE),
    "age": urgency.points(urgency.AGE),
    "age_days": urgency.AGE_DAYS,
    "tag": urgency.points(urgency.TAGS[1]),
    "two_tags": urgency.points(urgency.TAGS[2]),
    "tags": urgency.points(urgency.TAGS[3]),
    "in_project": urgency.points(urgency.PROJECT),
}


class Question(NamedTuple):
    """What is asked: on which day, and which tasks belong into the answer."""

    today: str
    project: str | None = None
    """Id of the only project; without one, tasks of all but resting ones."""
    minutes: int | None = None
    """The time at hand, for tasks that are estimated in time."""
    above: tuple[str, ...] = ()
    """Tags of tasks that take too much energy."""


class Loaded(NamedTuple):
    """The open tasks and the graph of those with a hold or links.

    The graph has its tasks in the order of the list; of a task without hold and links it has nothing to say.
    """

    places: list[Place]
    linked: list[Place]
    """The places of those in the graph."""
    fit: list[Place]
    """The places of those that belong into the answer."""
    graph: Graph

    def ready(self) -> list[Place]:
        """Return the places of those that belong into the answer and do not wait."""
        waiting = graph.waiting(self.graph)
        return [place for place in self.fit if place[2] not in waiting]


def today_of(scope: Snapshot, today: str | None) -> str:
    """Return the day that a caller named, else the day in UTC."""
    return today or scope.now()[:10]


def load(scope: Snapshot, question: Question, by: LiteralString = IN_ORDER) -> Loaded:
    """Return all open tasks, in no order, with their places by that key."""
    links = all_links(scope)
    resting = _resting(scope)
    rows = scope.rows(
        f"SELECT {by}, rank, id, {_HOLD}, {_fits(question, resting)}{_OPEN}",
        workspace=scope.workspace,
        resting=resting,
        day=_julian_day(question.today),
        **question._asdict(),
        **_COEFFICIENTS,
    )
    ends = {end for link in links for end in (link.source, link.target)}
    linked = sorted([row for row in rows if row[3] is not None or row[2] in ends], key=itemgetter(1, 2))
    nodes = [Node(row[2], hold=row[3]) for row in linked]
    known = {node.id for node in nodes}
    # A closed parent still hands down what blocks it; other closed tasks say nothing.
    above = {link.source for link in links if link.kind == "parent" and link.source not in known}
    fit = [row for row in rows if row[4]]
    return Loaded(rows, linked, fit, graph.index([*nodes, *_closed(scope, above)], links))


def _fits(question: Question, resting: Sequence[str]) -> LiteralString:
    """Return the condition for tasks that belong into the answer; what is not asked is not looked at 10,000 times."""
    condition: LiteralString = "1"
    if question.project is not None:
        condition = _IN_PROJECT
    elif resting:
        condition = _NOT_RESTING
    if question.minutes is not None:
        condition += " AND " + _IN_TIME
    if question.above:
        condition += " AND " + _NOT_ABOVE
    return condition


def _julian_day(day: str) -> float:
    return date.fromisoformat(day).toordinal() + 1_721_424.5


def _resting(scope: Snapshot) -> list[str]:
    """Return the projects whose tasks are not proposed unless one is named."""
    rows = scope.rows(
        "SELECT id FROM planning_projects"
        " WHERE archived_at IS NOT NULL OR status IN ('paused', 'completed', 'cancelled')"
    )
    return [id for (id,) in rows]


def worth_of(scope: Snapshot, ids: Collection[str], today: str) -> dict[str, Item]:
    """Return what the urgency of some tasks is made of."""
    rows = scope.rows(
        "SELECT id, rank, priority, julianday(due) - julianday(:today),"
        " julianday(:today) - julianday(substr(created_at, 1, 10)),"
        " status IN ('doing', 'review'), json_array_length(tags), project IS NOT NULL"
        " FROM planning_tasks WHERE id IN (SELECT value FROM json_each(:ids))",
        ids=sorted(ids),
        today=today,
    )
    return {row[0]: Item(*row) for row in rows}


def _closed(scope: Snapshot, ids: Collection[str]) -> list[Node]:
    if not ids:
        return []
    rows = scope.rows(
        "SELECT id FROM planning_tasks WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at IS NULL",
        ids=sorted(ids),
    )
    return [Node(id, "closed") for (id,) in rows]


def all_links(scope: Snapshot) -> list[Link]:
    """Return every link of the workspace that says an order among tasks."""
    rows = scope.rows(
        "SELECT kind, source, target FROM planning_links"
        " WHERE kind IN ('blocks', 'parent') AND deleted_at IS NULL AND workspace_id = :workspace ORDER BY id",
        workspace=scope.workspace,
    )
    return list(starmap(Link, rows))


def around(scope: Snapshot, task: str, today: str) -> Graph:
    """Return the part of the graph that the state of one task can change: what it blocks, with all that blocks that.

    A verb on one task reads tens of rows this way, where the whole graph may have thousands.
    """
    links = scope.rows(
        "WITH RECURSIVE"
        " below (id) AS (SELECT :task UNION SELECT target FROM planning_links"
        "   WHERE source = :task AND kind = 'blocks' AND deleted_at IS NULL"
        "   UNION SELECT link.target FROM below JOIN planning_links link ON link.source = below.id"
        "   WHERE link.kind = 'parent' AND link.deleted_at IS NULL),"
        " above (id) AS (SELECT id FROM below UNION SELECT link.source FROM above JOIN planning_links link"
        "   ON link.target = above.id WHERE link.kind = 'parent' AND link.deleted_at IS NULL)"
        " SELECT link.kind, link.source, link.target FROM above JOIN planning_links link ON link.target = above.id"
        " WHERE link.kind IN ('blocks', 'parent') AND link.deleted_at IS NULL",
        task=task,
    )
    ids = {task, *(id for row in links for id in row[1:])}
    rows = scope.rows(
        f"SELECT id, status, {_HOLD} FROM planning_tasks"  # noqa: S608 - literals only
        " WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at IS NULL ORDER BY rank, id",
        ids=sorted(ids),
        today=today,
    )
    nodes = [Node(id, CATEGORY[status], hold) for id, status, hold in rows]
    return graph.index(nodes, [Link(as_ordering(kind), source, target) for kind, source, target in links])


class WaitReason(Value):
    """One direct reason for which a task waits."""

    task: str
    """Key of the task that waits."""
    kind: Literal["hold", "blocks"]
    blocker: str | None = None
    """Key of the open task it waits for."""
    hold: str | None = None
    """Why it is held."""
    via: str | None = None
    """Key of the ancestor that the reason is inherited from."""
    text: str
    """The reason in words."""


def keys_of(scope: Snapshot, ids: Iterable[str]) -> dict[str, str]:
    """Return the keys of these tasks by id."""
    sql = "SELECT id, key FROM planning_tasks WHERE id IN (SELECT value FROM json_each(:ids))"
    return dict(scope.rows(sql, ids=sorted(set(ids))))


def ids_in(reasons: Iterable[Reason]) -> set[str]:
    """Return the ids of all tasks that are named in the reasons."""
    return {id for reason in reasons for id in (reason.task, reason.blocker, reason.via) if id is not None}


def tell(reasons: Sequence[Reason], keys: Mapping[str, str]) -> list[WaitReason]:
    """Return reasons with the keys of their tasks."""

    def key(id: str | None) -> str | None:
        return None if id is None else keys.get(id, id)

    told: list[WaitReason] = []
    for reason in reasons:
        words = f'hold "{reason.hold}"' if reason.kind == "hold" else str(key(reason.blocker))
        text = f"{words} (through {key(reason.via)})" if reason.via else words
        told.append(
            WaitReason(
                task=key(reason.task) or "",
                kind=reason.kind,
                blocker=key(reason.blocker),
                hold=reason.hold,
                via=key(reason.via),
                text=text,
            )
        )
    return told
