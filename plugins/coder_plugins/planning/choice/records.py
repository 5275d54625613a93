"""What choosing reads: tasks and links as the rules see them, never whole records; and reasons told with keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any, Literal, NamedTuple

from coder_local.api import Snapshot, Value
from coder_plugins.planning.links.records import as_ordering
from coder_plugins.planning.rules import graph
from coder_plugins.planning.rules.graph import Graph, Node, Reason
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.urgency import Item
from coder_plugins.planning.tasks.records import CATEGORY


class Loaded(NamedTuple):
    """The graph of all that is open, what its tasks are worth, and which of them may be proposed (None: all)."""

    graph: Graph
    items: list[Item]
    shown: frozenset[str] | None

    def may_show(self, id: str) -> bool:
        """Tell whether a task belongs into the answer."""
        return self.shown is None or id in self.shown


def today_of(scope: Snapshot, today: str | None) -> str:
    """Return the day that a caller named, else the day in UTC."""
    return today or scope.now()[:10]


def load(scope: Snapshot, today: str, project: str | None) -> Loaded:
    """Return the open tasks in the order of their ranks; shown are those of one project, or of all in progress."""
    rows = scope.rows(
        "SELECT id, status,"
        " CASE WHEN hold_reason IS NOT NULL AND (hold_until IS NULL OR hold_until > :today) THEN hold_reason"
        " WHEN wait_until > :today THEN 'waits until ' || wait_until END FROM planning_tasks"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace"
        " ORDER BY rank, id",
        workspace=scope.workspace,
        today=today,
    )
    return Loaded(_graph(scope, _nodes(rows)), [], _shown(scope, project))


def load_worth(scope: Snapshot, today: str, project: str | None) -> Loaded:
    """Return the same as `load`, with what the urgency of each open task is made of; the order is not told."""
    rows = scope.rows(
        "SELECT id, status,"
        " CASE WHEN hold_reason IS NOT NULL AND (hold_until IS NULL OR hold_until > :today) THEN hold_reason"
        " WHEN wait_until > :today THEN 'waits until ' || wait_until END,"
        " rank, priority, julianday(due) - julianday(:today), julianday(:today) - julianday(substr(created_at, 1, 10)),"
        " status IN ('doing', 'review'), CASE tags WHEN '[]' THEN 0 ELSE json_array_length(tags) END,"
        " project IS NOT NULL FROM planning_tasks"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace",
        workspace=scope.workspace,
        today=today,
    )
    items = [Item(row[0], *row[3:]) for row in rows]
    return Loaded(_graph(scope, _nodes(rows)), items, _shown(scope, project))


def _nodes(rows: Sequence[tuple[Any, ...]]) -> list[Node]:
    """Return the nodes of rows that begin with id, status and why it is held."""
    return [Node(row[0], CATEGORY[row[1]], row[2]) for row in rows]


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
    return list(starmap(Link, rows))


def _shown(scope: Snapshot, project: str | None) -> frozenset[str] | None:
    """Return the open tasks that belong into an answer: those of the project, else those of no resting one."""
    if project is not None:
        rows = scope.rows(
            "SELECT id FROM planning_tasks WHERE project = :project AND deleted_at IS NULL", project=project
        )
        return frozenset(id for (id,) in rows)
    resting = scope.rows(
        "SELECT id FROM planning_projects"
        " WHERE archived_at IS NOT NULL OR status IN ('paused', 'completed', 'cancelled')"
    )
    if not resting:
        return None
    rows = scope.rows(
        "SELECT id FROM planning_tasks"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL"
        " AND (project IS NULL OR project NOT IN (SELECT value FROM json_each(:resting)))",
        resting=[id for (id,) in resting],
    )
    return frozenset(id for (id,) in rows)


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
        "SELECT id, status,"
        " CASE WHEN hold_reason IS NOT NULL AND (hold_until IS NULL OR hold_until > :today) THEN hold_reason"
        " WHEN wait_until > :today THEN 'waits until ' || wait_until END FROM planning_tasks"
        " WHERE id IN (SELECT value FROM json_each(:ids)) AND deleted_at IS NULL ORDER BY rank, id",
        ids=sorted(ids),
        today=today,
    )
    return graph.index(_nodes(rows), [Link(as_ordering(kind), source, target) for kind, source, target in links])


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
