"""The verbs that move a task on its way: backlog, todo, doing, review, done, or dropped, and held meanwhile.

Forward, steps may be passed over (a small task goes from todo to done). Back go todo and doing to backlog, review to
doing, and what is closed to todo. An import and an undo may write any status.
"""

from __future__ import annotations

from typing import Any

from coder_local.api import Conflict, Instant, Invalid, LocalDate, Title, Transaction, Value, parse_instant
from coder_plugins.planning.choice.records import around, ids_in, keys_of, tell, today_of
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.rules import graph
from coder_plugins.planning.rules.graph import Graph
from coder_plugins.planning.tasks.finding.operations import TaskLine, find_task, lines
from coder_plugins.planning.tasks.records import CLOSED, Status, Task, TaskCompleted, TaskHeld, TaskStarted
from coder_plugins.planning.tasks.recurring.operations import make_next
from coder_plugins.planning.times.operations import stop_of_task
from coder_plugins.planning.times.records import TimeRecorded

STEPS: dict[str, frozenset[str]] = {
    "backlog": frozenset({"todo", "doing", "review", "done", "dropped"}),
    "todo": frozenset({"backlog", "doing", "review", "done", "dropped"}),
    "doing": frozenset({"backlog", "review", "done", "dropped"}),
    "review": frozenset({"doing", "done", "dropped"}),
    "done": frozenset({"todo"}),
    "dropped": frozenset({"todo"}),
}
"""From each status the ones that a verb may lead to."""
_TOLD = 100


class TaskChange(Value):
    """A task after a verb, and what followed from it."""

    task: Task
    freed: list[TaskLine]
    """Tasks that were blocked before and are ready now, in the order of the list."""
    next: Task | None = None
    """The next instance of a recurring task, which finishing this one made."""


@domain.command("planning.tasks.start", emits=(TaskStarted, TimeRecorded))
def start(tx: Transaction, *, id: Reference, override_reason: Title | None = None) -> TaskChange:
    """Begin work on a task. Refused while it is blocked, unless a reason to override is given; that is kept."""
    return enter(tx, find_task(tx, id), "doing", override_reason=override_reason)


@domain.command("planning.tasks.finish", emits=(TaskCompleted, TimeRecorded))
def finish(tx: Transaction, *, id: Reference, at: Instant | None = None, today: LocalDate | None = None) -> TaskChange:
    """Mark a task as done, and tell which tasks that frees. A recurring task gets its next instance.

    `at` is when it was done, now unless given; `today` the day that recurrence counts from, else the day of `at`.
    Its running timers are stopped.
    """
    return enter(tx, find_task(tx, id), "done", at=at, today=today)


@domain.command("planning.tasks.drop", emits=TimeRecorded)
def drop(tx: Transaction, *, id: Reference, reason: Title | None = None) -> TaskChange:
    """Close a task that will not be done. It blocks nobody any more, and does not come back; the reason is kept."""
    task = find_task(tx, id)
    if reason is not None:
        task = tx.update(task, meta={**task.meta, "drop_reason": reason})
    return enter(tx, task, "dropped")


@domain.command("planning.tasks.reopen")
def reopen(tx: Transaction, *, id: Reference) -> TaskChange:
    """Put a task that was done or dropped back to todo; it blocks again what it blocked."""
    task = find_task(tx, id)
    if task.status not in CLOSED:
        raise Conflict(f"{task.key} is {task.status}: it is open", hint="only done and dropped tasks are reopened")
    return enter(tx, task, "todo")


@domain.command("planning.tasks.hold", emits=TaskHeld)
def hold(tx: Transaction, *, id: Reference, reason: Title, until: LocalDate | None = None) -> TaskChange:
    """Put an open task on hold: it and its children are blocked until the day given, or until it is released."""
    task = find_task(tx, id)
    if task.status in CLOSED:
        raise Conflict(f"{task.key} is {task.status}", hint="reopen it first (planning.tasks.reopen)")
    if until is not None and until <= today_of(tx, None):
        hint = "give a later day, or leave it out to hold the task until planning.tasks.release"
        raise Invalid(f"a hold until {until} would be over already", field="/until", hint=hint)
    held = tx.update(task, hold_reason=reason, hold_until=until)
    tx.emit(TaskHeld(task=task.id))
    return TaskChange(task=held, freed=[])


@domain.command("planning.tasks.release")
def release(tx: Transaction, *, id: Reference) -> TaskChange:
    """Take a task off its hold, and tell which tasks are ready by that."""
    task = find_task(tx, id)
    if task.hold_reason is None:
        raise Conflict(f"{task.key} is not on hold", hint="see planning.blocked for what it waits for")
    day = today_of(tx, None)
    before = around(tx, task.id, day)
    released = tx.update(task, hold_reason=None, hold_until=None)
    return TaskChange(task=released, freed=_freed(tx, before, around(tx, task.id, day)))


def enter(
    tx: Transaction,
    task: Task,
    status: Status,
    *,
    at: str | None = None,
    today: str | None = None,
    override_reason: str | None = None,
) -> TaskChange:
    """Bring a task into another status, with all that follows. Raises `Conflict` for a step that is not allowed."""
    _refuse_step(task, status)
    moment = _moment(tx, at)
    day = today or moment[:10]
    before = around(tx, task.id, day)
    changes: dict[str, Any] = {"status": status, "completed_at": moment if status in CLOSED else None}
    if status in {"doing", "review"}:
        changes |= _beginning(tx, task, before, override_reason)
    following = None
    if status in CLOSED:
        stop_of_task(tx, task.id, moment)
        following = make_next(tx, task, day) if status == "done" else None
        changes["recurred_as"] = following.id if following else task.recurred_as
    changed = tx.update(task, **changes)
    freed = _freed(tx, before, around(tx, task.id, day))
    if status == "doing":
        tx.emit(TaskStarted(task=task.id))
    if status == "done":
        ids = [line.id for line in freed]
        tx.emit(
            TaskCompleted(
                task=task.id, freed=ids[:_TOLD], freed_count=len(ids), next=following.id if following else None
            )
        )
    return TaskChange(task=changed, freed=freed, next=following)


def close(tx: Transaction, task: Task, status: Status) -> Task:
    """Close one of many tasks: it makes no next instance, and what it frees is not told."""
    stop_of_task(tx, task.id, tx.now())
    closed = tx.update(task, status=status, completed_at=tx.now())
    if status == "done":
        tx.emit(TaskCompleted(task=task.id))
    return closed


def _refuse_step(task: Task, status: str) -> None:
    allowed = STEPS[task.status]
    if status == task.status:
        raise Conflict(f"{task.key} is {status} already", field="/status", data={"status": status})
    if status not in allowed:
        raise Conflict(
            f"{task.key} cannot go from {task.status} to {status}",
            field="/status",
            hint=f"from {task.status} it can go to {', '.join(sorted(allowed))}",
            data={"status": task.status, "allowed": sorted(allowed)},
        )


def _moment(tx: Transaction, at: str | None) -> str:
    if at is not None and parse_instant(at) > parse_instant(tx.now()):
        raise Invalid(f"{at} is yet to come", field="/at", hint="leave it out for now")
    return at or tx.now()


def _beginning(tx: Transaction, task: Task, before: Graph, override_reason: str | None) -> dict[str, Any]:
    """Return what beginning work writes. Raises `Conflict` while the task is blocked and nobody overrides that."""
    changes: dict[str, Any] = {"started_at": task.started_at or tx.now()}
    reasons = graph.blocked(before).get(task.id, ())
    if not reasons:
        return changes
    if override_reason is None:
        told = tell(reasons, keys_of(tx, ids_in(reasons)))
        raise Conflict(
            f"{task.key} is blocked: " + ", ".join(each.text for each in told[:5]),
            hint="finish or release what it waits for, or pass override_reason",
            data={"reasons": [each.text for each in told]},
        )
    return changes | {"meta": {**task.meta, "override_reason": override_reason}}


def _freed(tx: Transaction, before: Graph, after: Graph) -> list[TaskLine]:
    waited = graph.blocked(before)
    return list(lines(tx, [id for id in graph.ready(after) if id in waited]).values())
