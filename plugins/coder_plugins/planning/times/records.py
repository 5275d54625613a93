"""What is kept of the time spent on a task, what is said of it, and what must hold for it."""

from __future__ import annotations

from coder_local.api import Conflict, Event, Fault, Id, Instant, Record, Transaction, parse_instant
from coder_plugins.planning.records import Amount, Name, changed, domain, refuse
from coder_plugins.planning.tasks.records import Task


@domain.table("times", indexes=(("actor", "stopped_at"), ("task",)), read_only=("actor",))
class TimeEntry(Record):
    """Time spent on one task; without `stopped_at` its timer runs, and an actor has at most one that runs."""

    task: Id
    started_at: Instant
    stopped_at: Instant | None = None
    actor: Name
    """Who spent it: `user`, or an agent."""
    minutes: Amount | None = None
    """Minutes spent, at most the time between start and stop; empty while the timer runs."""


times = domain.standard(
    TimeEntry,
    operations=("list", "get", "update", "delete", "history"),  # made by planning.time.start and planning.times.create
    filters=("task",),
    references={"task": Task},
    sort=("started_at",),
)


@domain.event("planning.time.recorded")
class TimeRecorded(Event):
    """Time was recorded on a task: a timer was stopped, or an entry made by hand."""

    time: str
    """Id of the entry."""
    task: str
    minutes: int


@domain.rule(TimeEntry)
def check_time(tx: Transaction, before: TimeEntry | None, after: TimeEntry) -> None:
    """Refuse an end before the start, more minutes than passed, and a second running timer."""
    if after.deleted_at is not None:
        return
    if changed(before, after, "started_at", "stopped_at", "minutes"):
        refuse(_span_faults(after))
    if changed(before, after, "task"):
        refuse(_task_faults(tx, after))
    if after.stopped_at is None and changed(before, after, "stopped_at", "actor", "deleted_at"):
        _refuse_second(tx, after)


def _task_faults(tx: Transaction, entry: TimeEntry) -> list[Fault]:
    if tx.rows("SELECT 1 FROM planning_tasks WHERE id = :id AND deleted_at IS NULL", id=entry.task):
        return []
    return [Fault("/task", f"there is no task with id {entry.task!r}", "look ids up with planning.tasks.list")]


def _span_faults(entry: TimeEntry) -> list[Fault]:
    if entry.stopped_at is None:
        hint = "set stopped_at too"
        return [Fault("/minutes", "a running timer has no minutes yet", hint)] if entry.minutes is not None else []
    passed = (parse_instant(entry.stopped_at) - parse_instant(entry.started_at)).total_seconds() / 60
    if passed < 0:
        return [Fault("/stopped_at", "it was stopped before it was started", f"give a time after {entry.started_at}")]
    if entry.minutes is None:
        return [Fault("/minutes", "a stopped timer has minutes", "give the minutes spent")]
    if not 0 <= entry.minutes <= passed + 1:
        hint = f"at most {int(passed) + 1}, or set started_at earlier"
        return [Fault("/minutes", f"{entry.minutes} minutes were not between start and stop", hint)]
    return []


def _refuse_second(tx: Transaction, entry: TimeEntry) -> None:
    running = tx.rows(
        "SELECT e.id, t.key FROM planning_times e LEFT JOIN planning_tasks t ON t.id = e.task"
        " WHERE e.actor = :actor AND e.stopped_at IS NULL AND e.deleted_at IS NULL AND e.id <> :id"
        " AND e.workspace_id = :workspace",
        actor=entry.actor,
        id=entry.id,
        workspace=entry.workspace_id,
    )
    if running:
        raise Conflict(
            f"a timer of {entry.actor} runs on {running[0][1]}",
            hint="stop it first with planning.time.stop, or start with switch",
            data={"running": running[0][0], "task": running[0][1]},
        )
