"""What may be asked of tasks: make one, find one by its key, and put it elsewhere in the list."""

from __future__ import annotations

from typing import Any, Literal

from coder_local.api import Conflict, Invalid, LocalDate, Markdown, Snapshot, Title, Transaction, between
from coder_plugins.planning.records import Estimate, Name, Reference, domain
from coder_plugins.planning.rules.recurrence import Recurrence

from .finding import find_project, find_task, new_rank, next_key
from .records import CheckItem, Priority, Task, TaskKind


@domain.command("planning.tasks.create")
def create_task(
    tx: Transaction,
    *,
    title: Title,
    project: Reference | None = None,
    description: Markdown = "",
    kind: TaskKind | None = None,
    status: Literal["backlog", "todo"] = "todo",
    priority: Priority = "none",
    estimate: Estimate | None = None,
    due: LocalDate | None = None,
    wait_until: LocalDate | None = None,
    recurrence: Recurrence | None = None,
    assignee: Name | None = None,
    tags: tuple[str, ...] = (),
    checklist: tuple[CheckItem, ...] = (),
    meta: dict[str, Any] | None = None,
) -> Task:
    """Create one task, at the end of the list. `project` is an id or a key.

    A task without a due date that comes back on fixed dates is due on the first of them.
    """
    owner = None if project is None else find_project(tx, project)
    if due is None and recurrence is not None and recurrence.start is not None:
        due = recurrence.start.isoformat()
    return tx.insert(
        Task(
            key=next_key(tx, owner),
            rank=new_rank(tx),
            project=None if owner is None else owner.id,
            title=title,
            description=description,
            kind=kind,
            status=status,
            priority=priority,
            estimate=estimate,
            due=due,
            wait_until=wait_until,
            recurrence=recurrence,
            assignee=assignee,
            tags=list(tags),
            checklist=list(checklist),
            meta=meta or {},
        )
    )


@domain.query("planning.tasks.find", quick=True)
def find(read: Snapshot, *, task: Reference) -> Task:
    """Return one task by its key, such as `PLAN-12`, or by its id."""
    return find_task(read, task, "task")


@domain.command("planning.tasks.reorder")
def reorder(tx: Transaction, *, id: Reference, before: Reference | None = None, after: Reference | None = None) -> Task:
    """Put a task before another in the list, or after one, or between two. Writes this one row only."""
    task = find_task(tx, id)
    above = None if after is None else find_task(tx, after, "after")
    below = None if before is None else find_task(tx, before, "before")
    if above is None and below is None:
        raise Invalid("say where to put it", field="/before", hint="give before, or after, or both")
    if task.id in {above and above.id, below and below.id}:
        raise Invalid("a task cannot be put beside itself", field="/before" if below else "/after")
    low = above.rank if above else _neighbour_before(tx, below.rank, task.id) if below else None
    high = below.rank if below else _neighbour_after(tx, above.rank, task.id) if above else None
    if low is not None and high is not None and low >= high:
        raise Conflict(
            f"{above and above.key} is not before {below and below.key} in the list",
            field="/after",
            hint="give only one of them, or read the list again",
        )
    return tx.update(task, rank=between(low, high))


def _neighbour_before(tx: Transaction, rank: str, but: str) -> str | None:
    rows = tx.rows(
        "SELECT rank FROM planning_tasks WHERE rank < :rank AND id <> :but AND deleted_at IS NULL"
        " ORDER BY rank DESC LIMIT 1",
        rank=rank,
        but=but,
    )
    return rows[0][0] if rows else None


def _neighbour_after(tx: Transaction, rank: str, but: str) -> str | None:
    rows = tx.rows(
        "SELECT rank FROM planning_tasks WHERE rank > :rank AND id <> :but AND deleted_at IS NULL"
        " ORDER BY rank LIMIT 1",
        rank=rank,
        but=but,
    )
    return rows[0][0] if rows else None
