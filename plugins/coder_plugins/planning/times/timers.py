"""Stopping timers, and asking what to keep of one that was left running."""

from __future__ import annotations

from coder_local.api import Conflict, Instant, Invalid, Transaction, parse_instant
from coder_plugins.planning.records import PlanningSettings
from coder_plugins.planning.rules.durations import format_human

from .records import TimeEntry, TimeRecorded


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
    """Stop every timer that runs on a task, for it is closed."""
    for entry in tx.select(TimeEntry, "task = :task AND stopped_at IS NULL", task=task):
        stop(tx, entry, max(at, entry.started_at))


def stop_of_project(tx: Transaction, project: str) -> None:
    """Stop every timer that runs on a project's tasks."""
    where = "stopped_at IS NULL AND task IN (SELECT id FROM planning_tasks WHERE project = :project)"
    for entry in tx.select(TimeEntry, where, project=project):
        stop(tx, entry, max(tx.now(), entry.started_at))
