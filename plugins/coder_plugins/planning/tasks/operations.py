"""What may be asked of tasks: make and delete one here; finding, progress, place and division in their own folders."""

from __future__ import annotations

from typing import Any, Literal

from coder_local.api import LocalDate, Markdown, Title, Transaction
from coder_plugins.planning.records import Estimate, Name, Reference, domain
from coder_plugins.planning.rules.recurrence import Recurrence
from coder_plugins.planning.times.operations import stop_of_task
from coder_plugins.planning.times.records import TimeRecorded

from .finding.operations import find_task, new_rank, next_key, project_to_join
from .records import ChecklistItem, Priority, Task, TaskKind


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
    checklist: tuple[ChecklistItem, ...] = (),
    meta: dict[str, Any] | None = None,
) -> Task:
    """Create one task, at the end of the list. `project` is an id or a key.

    A task without a due date that comes back on fixed dates is due on the first of them.
    """
    owner = None if project is None else project_to_join(tx, project)
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


@domain.command("planning.tasks.delete", emits=TimeRecorded)
def delete_task(tx: Transaction, *, id: Reference) -> Task:
    """Delete one task; it stays in history, and undo brings it back. Its running timers are stopped."""
    task = find_task(tx, id)
    stop_of_task(tx, task.id, tx.now())
    return tx.delete(task)
