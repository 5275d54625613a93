"""Tasks that come back: bringing them up to date, and making the next instance."""

from __future__ import annotations

from datetime import date
from time import monotonic

from coder_local.api import Conflict, LocalDate, Transaction, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import domain
from coder_plugins.planning.rules import recurrence
from coder_plugins.planning.rules.recurrence import Recurrence
from coder_plugins.planning.tasks.finding.operations import TaskLine, line, new_rank, next_key
from coder_plugins.planning.tasks.records import ChecklistItem, Task

_MOST_COUNTED = 50_000
"""Missed dates that one `planning.tasks.roll` counts."""
_LONGEST = 2.0
"""Seconds that it may take."""


class Rolled(Value):
    """Recurring tasks whose due date was moved on."""

    items: list[TaskLine]
    more: bool = False
    """Some are left, because so many dates had passed: run it again."""


@domain.command("planning.tasks.roll")
def roll(tx: Transaction, *, today: LocalDate | None = None) -> Rolled:
    """Bring open tasks that come back on fixed dates up to today: the latest due date, and how many were missed.

    There is one open instance at a time; due dates that passed are counted, not made into tasks. Run it once a day;
    `planning.next` counts the same without writing.
    """
    day = today_of(tx, today)
    where = "recurrence IS NOT NULL AND due < :day AND status NOT IN ('done', 'dropped') AND workspace_id = :workspace"
    rolled: list[TaskLine] = []
    counted, end = 0, monotonic() + _LONGEST
    for task in tx.select(Task, where, day=day, workspace=tx.workspace):
        if task.recurrence is None or task.due is None:
            continue
        instance = _instance(task, task.recurrence, date.fromisoformat(task.due), date.fromisoformat(day))
        if instance.missed:
            moved = tx.update(task, due=instance.due.isoformat(), missed=task.missed + instance.missed)
            rolled.append(line(moved))
            counted += instance.missed
        if counted >= _MOST_COUNTED or monotonic() > end:  # it holds the writer, for which everybody waits
            return Rolled(items=rolled, more=True)
    return Rolled(items=rolled)


def _instance(task: Task, rule: Recurrence, due: date, day: date) -> recurrence.Instance:
    """Return the open instance as of a day. Raises `Conflict` naming the task when its rule cannot be counted."""
    try:
        return recurrence.roll(rule, due, day)
    except ValueError as error:
        hint = "give it a later due date, or another recurrence (planning.tasks.update)"
        raise Conflict(f"{task.key}: {error}", field="/recurrence/rrule", hint=hint, data={"task": task.key}) from error


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
    instance = _instance(task, rule, due, day)
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
