"""What may be asked of where a task belongs: its project, its parent, its place in the list."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from coder_local.api import Conflict, Invalid, Snapshot, Title, Transaction, between
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.tasks.finding.operations import (
    find_task,
    project_to_join,
    refuse_estimate_in_other_unit,
)
from coder_plugins.planning.tasks.progress.operations import TaskChange, enter
from coder_plugins.planning.tasks.records import Status, Task, TaskCompleted, TaskStarted
from coder_plugins.planning.times.records import TimeRecorded


@domain.command("planning.tasks.move", emits=(TaskStarted, TaskCompleted, TimeRecorded))
def move(
    tx: Transaction,
    *,
    id: Reference,
    project: Reference | UnsetType | None = UNSET,
    parent: Reference | UnsetType | None = UNSET,
    status: Status | None = None,
    override_reason: Title | None = None,
) -> TaskChange:
    """Put a task into another project, under another parent, or into another status; any of them in one step.

    Null takes it out of its project or from under its parents; what is left out stays. Its key stays the same. A status
    has the same consequences as the verb of its name: see start, finish, drop and reopen.
    """
    task = find_task(tx, id)
    if project is UNSET and parent is UNSET and status is None:
        raise Invalid("say where to move it", field="/project", hint="give project, parent or status")
    if not isinstance(project, UnsetType):
        target = None if project is None else project_to_join(tx, project)
        refuse_estimate_in_other_unit(tx, task, target)
        task = tx.update(task, project=None if target is None else target.id)
    if not isinstance(parent, UnsetType):
        _put_under(tx, task, None if parent is None else find_task(tx, parent, "parent"))
    if status is not None and status != task.status:
        return enter(tx, task, status, override_reason=override_reason)
    return TaskChange(task=task, freed=[])


def _put_under(tx: Transaction, task: Task, parent: Task | None) -> None:
    stays = None if parent is None else parent.id
    found = tx.select(Link, "target = :task AND kind = 'parent'", task=task.id)
    for link in found:
        if link.source != stays:
            tx.delete(link)
    if parent is not None and all(link.source != parent.id for link in found):
        tx.insert(Link(source=parent.id, target=task.id, kind="parent"))


@domain.command("planning.tasks.reorder")
def reorder(tx: Transaction, *, id: Reference, before: Reference | None = None, after: Reference | None = None) -> Task:
    """Put a task before another in the list, or after one, or between two. Writes this one row only."""
    task = find_task(tx, id)
    above = None if after is None else find_task(tx, after, "after")
    below = None if before is None else find_task(tx, before, "before")
    if above is None and below is None:
        raise Invalid("say where to put it", field="/before", hint="give before, or after, or both")
    if any(beside is not None and beside.id == task.id for beside in (above, below)):
        raise Invalid("a task cannot be put beside itself", field="/before" if above is None else "/after")
    low, high = None if above is None else above.rank, None if below is None else below.rank
    if low is None and high is not None:
        low = _rank_before(tx, high, task.id)
    elif high is None and low is not None:
        high = _rank_after(tx, low, task.id)
    if low is not None and high is not None and low >= high:
        raise Conflict(
            "the one it should come after is not before the other in the list",
            field="/after",
            hint="give only one of them, or read the list again",
        )
    return tx.update(task, rank=between(low, high))


def _rank_before(tx: Snapshot, rank: str, but: str) -> str | None:
    rows = tx.rows(
        "SELECT rank FROM planning_tasks"
        " WHERE workspace_id = :workspace AND rank < :rank AND id <> :but AND deleted_at IS NULL"
        " ORDER BY rank DESC LIMIT 1",
        workspace=tx.workspace,
        rank=rank,
        but=but,
    )
    return rows[0][0] if rows else None


def _rank_after(tx: Snapshot, rank: str, but: str) -> str | None:
    rows = tx.rows(
        "SELECT rank FROM planning_tasks"
        " WHERE workspace_id = :workspace AND rank > :rank AND id <> :but AND deleted_at IS NULL"
        " ORDER BY rank LIMIT 1",
        workspace=tx.workspace,
        rank=rank,
        but=but,
    )
    return rows[0][0] if rows else None
