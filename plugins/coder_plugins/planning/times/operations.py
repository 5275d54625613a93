"""What may be asked of time: start and stop the one running timer, and record what was spent without one."""

from __future__ import annotations

from datetime import timedelta

from coder_local.api import Conflict, Fault, Instant, Invalid, Transaction, format_instant, parse_instant
from coder_plugins.planning.records import Amount, PlanningSettings, Reference, domain, refuse
from coder_plugins.planning.rules.durations import format_human
from coder_plugins.planning.tasks.finding.operations import find_task
from coder_plugins.planning.tasks.records import CLOSED

from .records import TimeEntry, TimeRecorded


@domain.command("planning.time.start", emits=TimeRecorded)
def start_timer(tx: Transaction, *, task: Reference, at: Instant | None = None, switch: bool = False) -> TimeEntry:
    """Start the caller's timer on a task; one runs for each actor, and with `switch` the other is stopped first."""
    found = find_task(tx, task, "task")
    if found.status in CLOSED:
        raise Conflict(f"{found.key} is {found.status}", hint="reopen it first (planning.tasks.reopen)")
    begin = _not_later(tx, at)
    running = _running(tx)
    if running is not None and switch:
        stop(tx, running, begin)
    return tx.insert(TimeEntry(task=found.id, started_at=begin, actor=tx.actor))


@domain.command("planning.time.stop", emits=TimeRecorded)
def stop_timer(tx: Transaction, *, at: Instant | None = None, keep: Amount | None = None) -> TimeEntry:
    """Stop the caller's running timer and record its minutes.

    A timer that ran longer than the setting `longest_timer` is taken for a forgotten one: say with `keep` how many
    minutes count, 0 for none.
    """
    running = _running(tx)
    if running is None:
        raise Conflict(f"no timer of {tx.actor} runs", hint="start one with planning.time.start")
    return stop(tx, running, _not_later(tx, at), keep)


@domain.command("planning.times.create", emits=TimeRecorded)
def record_time(
    tx: Transaction,
    *,
    task: Reference,
    started_at: Instant,
    stopped_at: Instant | None = None,
    minutes: Amount | None = None,
) -> TimeEntry:
    """Record time that was spent without a timer: give its end, or its minutes, or both when there were breaks."""
    if stopped_at is None:
        if minutes is None:
            refuse([Fault("/minutes", "say how long it took", "give minutes or stopped_at")])
        stopped_at = format_instant(parse_instant(started_at) + timedelta(minutes=minutes or 0))
    if minutes is None:
        minutes = round((parse_instant(stopped_at) - parse_instant(started_at)).total_seconds() / 60)
    entry = tx.insert(
        TimeEntry(
            task=find_task(tx, task, "task").id,
            started_at=started_at,
            stopped_at=stopped_at,
            actor=tx.actor,
            minutes=minutes,
        )
    )
    tx.emit(TimeRecorded(time=entry.id, task=entry.task, minutes=minutes))
    return entry


def _running(tx: Transaction) -> TimeEntry | None:
    where = "actor = :actor AND stopped_at IS NULL AND workspace_id = :workspace"
    return next(iter(tx.select(TimeEntry, where, actor=tx.actor, workspace=tx.workspace)), None)


def _not_later(tx: Transaction, at: str | None) -> str:
    """Return the moment that was given, or now. Raises `Invalid` for one that is yet to come."""
    if at is not None and at > tx.now():
        raise Invalid(f"{at} is yet to come", field="/at", hint="leave it out for now")
    return at or tx.now()


def stop(tx: Transaction, entry: TimeEntry, at: Instant, keep: int | None = None) -> TimeEntry:
    """Stop a running timer and return its entry with the minutes spent.

    Raises `Conflict` when it ran longer than the setting `longest_timer` and nobody says what to keep, `Invalid` when
    `keep` is more than the time that passed.
    """
    passed = round((parse_instant(at) - parse_instant(entry.started_at)).total_seconds() / 60)
    if passed < 0:
        raise Invalid(
            "it cannot be stopped before it was started", field="/at", hint=f"give a time after {entry.started_at}"
        )
    if keep is None and passed > tx.settings(PlanningSettings).longest_timer:
        raise Conflict(
            f"this timer ran for {format_human(passed)}: was it left running?",
            field="/keep",
            hint="stop it with planning.time.stop and pass keep, the minutes to keep (0 for none)",
            data={"entry": entry.id, "task": entry.task, "started_at": entry.started_at, "minutes": passed},
        )
    if keep is not None and keep > passed:
        raise Invalid(f"only {passed} minutes have passed", field="/keep", hint="keep at most that many")
    minutes = passed if keep is None else keep
    stopped = tx.update(entry, stopped_at=at, minutes=minutes)
    tx.emit(TimeRecorded(time=entry.id, task=entry.task, minutes=minutes))
    return stopped


def stop_of_task(tx: Transaction, task: str, at: Instant) -> None:
    """Stop every timer that runs on a task, for it is closed or deleted."""
    for entry in tx.select(TimeEntry, "task = :task AND stopped_at IS NULL", task=task):
        stop(tx, entry, max(at, entry.started_at))


def stop_of_project(tx: Transaction, project: str) -> None:
    """Stop every timer that runs on a project's tasks."""
    where = "stopped_at IS NULL AND task IN (SELECT id FROM planning_tasks WHERE project = :project)"
    for entry in tx.select(TimeEntry, where, project=project):
        stop(tx, entry, max(tx.now(), entry.started_at))
