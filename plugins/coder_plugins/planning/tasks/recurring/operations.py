"""Tasks that come back: bringing them up to date, and making the next instance."""

from __future__ import annotations

from datetime import date

from coder_local.api import LocalDate, Transaction, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import domain
from coder_plugins.planning.rules import recurrence
from coder_plugins.planning.tasks.finding.operations import TaskLine, line, new_rank, next_key
from coder_plugins.planning.tasks.records import ChecklistItem, Task


class Rolled(Value):
    """Recurring tasks whose due date was moved on."""

    items: list[TaskLine]


@domain.command("planning.tasks.roll")
def roll(tx: Transaction, *, today: LocalDate | None = None) -> Rolled:
    """Bring open tasks that come back on fixed dates up to today: the latest due date, and how many were missed.

    There is one open instance at a time; due dates that passed are counted, not made into tasks. Run it once a day;
    `planning.next` counts the same without writing.
    """
    day = today_of(tx, today)
    where = "recurrence IS NOT NULL AND due < :day AND status NOT IN ('done', 'dropped') AND workspace_id = :workspace"
    rolled: list[TaskLine] = []
    for task in tx.select(Task, where, day=day, workspace=tx.workspace):
        if task.recurrence is None or task.due is None:
            continue
        instance = recurrence.roll(task.recurrence, date.fromisoformat(task.due), date.fromisoformat(day))
        if instance.missed:
            moved = tx.update(task, due=instance.due.isoformat(), missed=task.missed + instance.missed)
            rolled.append(line(moved))
    return Rolled(items=rolled)


def make_next(tx: Transaction, task: Task, finished: str) -> Task | None:
    """Make the instance that follows a finished one, or None when the task does not come back.

    On fixed dates those that have passed by then are counted as missed and make no tasks of their own. The new task has
    the same fields with its checklist open again, and the same open parents; what the old one waited for is not copied.
    """
    rule = task.recurrence
    if rule is None or task.recurred_as is not None:
        return None
    day = date.fromisoformat(finished)
    old = None if task.due is None else date.fromisoformat(task.due)
    due = recurrence.next_due(rule, old, day)
    if due is None:
        return None
    instance = recurrence.roll(rule, due, day)
    following = tx.insert(
        Task(
            key=next_key(tx, None if task.project is None else tx.find(Project, task.project)),
            rank=new_rank(tx),
            project=task.project,
            title=task.title,
            description=task.description,
            kind=task.kind,
            priority=task.priority,
            estimate=task.estimate,
            due=instance.due.isoformat(),
            wait_until=_shifted(task.wait_until, old, instance.due),
            recurrence=rule,
            missed=instance.missed,
            assignee=task.assignee,
            tags=task.tags,
            checklist=[ChecklistItem(text=item.text) for item in task.checklist],
        )
    )
    _keep_parents(tx, task, following)
    return following


def _shifted(wait: str | None, old: date | None, due: date) -> str | None:
    """Return the day on which work may begin, as long before the new due date as it was before the old one."""
    if wait is None or old is None:
        return None
    return (due - (old - date.fromisoformat(wait))).isoformat()


def _keep_parents(tx: Transaction, task: Task, following: Task) -> None:
    for (parent,) in tx.rows(
        "SELECT link.source FROM planning_links link JOIN planning_tasks parent ON parent.id = link.source"
        " WHERE link.target = :task AND link.kind = 'parent' AND link.deleted_at IS NULL"
        " AND parent.deleted_at IS NULL AND parent.status NOT IN ('done', 'dropped')",
        task=task.id,
    ):
        tx.insert(Link(source=parent, target=following.id, kind="parent"))
