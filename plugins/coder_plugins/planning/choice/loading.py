"""Reading tasks and links as the rules see them: only the columns that are needed, never whole records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import Any, NamedTuple

from coder_local.api import Snapshot
from coder_plugins.planning.links.records import as_ordering
from coder_plugins.planning.rules import graph
from coder_plugins.planning.rules.graph import Graph, Node
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.urgency import Item
from coder_plugins.planning.tasks.records import CATEGORY


class Loaded(NamedTuple):
    """The graph of all that is open, what its tasks are worth, and the open tasks that may be proposed."""

    graph: Graph
    items: list[Item]
    shown: frozenset[str]


def today_of(scope: Snapshot, today: str | None) -> str:
    """Return the day that a caller named, else the day in UTC."""
    return today or scope.now()[:10]


def hold_text(today: str, reason: str | None, until: str | None, wait: str | None) -> str | None:
    """Return why a task is held on a day: its hold while that lasts, or the day it waits for."""
    if reason is not None and (until is None or until > today):
        return reason
    return f"waits until {wait}" if wait is not None and wait > today else None


def load(scope: Snapshot, today: str, project: str | None) -> Loaded:
    """Return the open tasks in the order of their ranks; `shown` are those of one project, or of all in progress."""
    rows = scope.rows(
        "SELECT id, status, hold_reason, hold_until, wait_until, project FROM planning_tasks"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace"
        " ORDER BY rank, id",
        workspace=scope.workspace,
    )
    nodes = [Node(row[0], CATEGORY[row[1]], hold_text(today, *row[2:5])) for row in rows]
    return Loaded(_graph(scope, nodes), [], _shown(scope, ((row[0], row[5]) for row in rows), project))


def load_worth(scope: Snapshot, today: str, project: str | None) -> Loaded:
    """Return the same as `load`, with what the urgency of each open task is made of."""
    rows = scope.rows(
        "SELECT id, status, hold_reason, hold_until, wait_until, project, rank, priority, due,"
        " substr(created_at, 1, 10), CASE tags WHEN '[]' THEN 0 ELSE json_array_length(tags) END FROM planning_tasks"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace"
        " ORDER BY rank, id",
        workspace=scope.workspace,
    )
    nodes = [Node(row[0], CATEGORY[row[1]], hold_text(today, *row[2:5])) for row in rows]
    count = _Days(today)
    items = [
        Item(
            row[0], row[6], row[7], None if row[8] is None else count.until(row[8]), -count.until(row[9]),
            CATEGORY[row[1]] == "active", row[10], row[5] is not None,
        )
        for row in rows
    ]  # fmt: skip
    return Loaded(_graph(scope, nodes), items, _shown(scope, ((row[0], row[5]) for row in rows), project))


class _Days:
    """Days from one day to others; the same few dates come again and again."""

    def __init__(self, today: str) -> None:
        self._today = date.fromisoformat(today).toordinal()
        self._known: dict[str, float] = {}

    def until(self, day: str) -> float:
        found = self._known.get(day)
        if found is None:
            found = self._known[day] = float(date.fromisoformat(day).toordinal() - self._today)
        return found


def _graph(scope: Snapshot, nodes: list[Node]) -> Graph:
    links = all_links(scope)
    known = {node.id for node in nodes}
    # A closed parent still hands down what blocks it; other closed tasks say nothing.
    above = {link.source for link in links if link.kind == "parent" and link.source not in known}
    return graph.index([*nodes, *_closed(scope, above)], links)


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
    return [Link(*row) for row in rows]


def _shown(scope: Snapshot, tasks: Iterable[tuple[str, str | None]], project: str | None) -> frozenset[str]:
    if project is not None:
        return frozenset(id for id, own in tasks if own == project)
    resting = scope.rows(
        "SELECT id FROM planning_projects"
        " WHERE archived_at IS NOT NULL OR status IN ('paused', 'completed', 'cancelled')"
    )
    hidden = {id for (id,) in resting}
    return frozenset(id for id, own in tasks if own not in hidden)


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
    rows: list[tuple[Any, ...]] = scope.rows(
        "SELECT id, status, hold_reason, hold_until, wait_until FROM planning_tasks"
        " WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at IS NULL ORDER BY rank, id",
        ids=sorted(ids),
    )
    nodes = [Node(row[0], CATEGORY[row[1]], hold_text(today, *row[2:5])) for row in rows]
    return graph.index(nodes, [Link(as_ordering(kind), source, target) for kind, source, target in links])
