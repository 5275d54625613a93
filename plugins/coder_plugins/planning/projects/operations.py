"""What may be asked of projects: archive, complete, and how they stand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from coder_local.api import Conflict, Invalid, LocalDate, Snapshot, Transaction, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.dates.forecasting.records import Quantiles, quantiles
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.rules import health as verdicts
from coder_plugins.planning.tasks.finding.operations import (
    find_project,
    project_to_join,
    refuse_estimate_in_other_unit,
)
from coder_plugins.planning.tasks.progress.operations import close
from coder_plugins.planning.tasks.records import Task, TaskCompleted
from coder_plugins.planning.times.operations import stop_of_project
from coder_plugins.planning.times.records import TimeRecorded

from .records import Project, refuse_running_timer


class ProjectClosing(Value):
    """A completed project, and what became of its open tasks."""

    project: Project
    closed: list[str]
    """Keys of the tasks that were finished or dropped for it."""
    moved: list[str]
    """Keys of the tasks that went to another project."""


class HealthAnswer(Value):
    """How a project stands, with the reasons; the weightiest first."""

    status: Literal["on_track", "at_risk", "off_track", "unknown"]
    reasons: list[str]
    target: LocalDate | None
    remaining: int
    """Open tasks."""
    p50: LocalDate | None
    """The day by which it is done with even chance."""
    p85: LocalDate | None
    """The day by which it is done with 85 % confidence."""


@domain.command("planning.projects.archive", emits=TimeRecorded)
def archive(tx: Transaction, *, id: Reference, archived: bool = True, stop_timers: bool = False) -> Project:
    """Hide a project from next and ready, or show it again; nothing is deleted. Refused while a timer runs on it."""
    project = find_project(tx, id, "id")
    if stop_timers and archived:
        stop_of_project(tx, project.id)
    return tx.update(project, archived_at=(project.archived_at or tx.now()) if archived else None)


@domain.command("planning.projects.complete", emits=(TaskCompleted, TimeRecorded))
def complete(
    tx: Transaction,
    *,
    id: Reference,
    open_tasks: Literal["finish", "drop", "move"] | None = None,
    to: Reference | None = None,
    stop_timers: bool = False,
) -> ProjectClosing:
    """Complete a project. With open tasks it asks what becomes of them: finish, drop, or move `to` another project.

    Refused while a timer runs on it, unless `stop_timers`.
    """
    project = find_project(tx, id, "id")
    if stop_timers:
        stop_of_project(tx, project.id)
    rest = _open(tx, project)
    if rest and open_tasks is None:
        raise Conflict(
            f"{len(rest)} tasks of {project.key} are open",
            field="/open_tasks",
            hint="say what becomes of them: finish, drop, or move with to",
            data={"open": [task.key for task in rest[:50]], "count": len(rest)},
        )
    if open_tasks == "move":
        _move(tx, rest, project, to)
    elif open_tasks is not None:
        refuse_running_timer(tx, project)  # closing its tasks would stop it unasked
        for task in rest:
            close(tx, task, "done" if open_tasks == "finish" else "dropped")
    keys = [task.key for task in rest]
    moved = open_tasks == "move"
    return ProjectClosing(
        project=tx.update(project, status="completed"), closed=[] if moved else keys, moved=keys if moved else []
    )


@domain.query("planning.projects.health")
def health(read: Snapshot, *, id: Reference, today: LocalDate | None = None) -> HealthAnswer:
    """Return how a project stands: its target held against the forecast, with the reasons.

    Off track: the target is before the day of even chance, or past. At risk: it is before the 85 % day.
    """
    return health_of(read, find_project(read, id, "id"), today_of(read, today))


def health_of(read: Snapshot, project: Project, today: str) -> HealthAnswer:
    """Return how a project stands on a day."""
    day = date.fromisoformat(today)
    found: Quantiles = quantiles(read, project.id, day)
    p50 = None if found.p50 is None else day + timedelta(weeks=found.p50)
    p85 = None if found.p85 is None else day + timedelta(weeks=found.p85)
    target = None if project.target is None else date.fromisoformat(project.target)
    verdict = verdicts.health(target, p50, p85, remaining=found.remaining, today=day, why_no_forecast=found.why_none)
    return HealthAnswer(
        status=verdict.status,
        reasons=verdict.reasons,
        target=project.target,
        remaining=found.remaining,
        p50=None if p50 is None else p50.isoformat(),
        p85=None if p85 is None else p85.isoformat(),
    )


def _open(tx: Transaction, project: Project) -> list[Task]:
    where = "project = :id AND status NOT IN ('done', 'dropped')"
    return tx.select(Task, where, order="rank, id", id=project.id)


def _move(tx: Transaction, tasks: list[Task], project: Project, to: str | None) -> None:
    if to is None:
        raise Invalid("say which project the open tasks go to", field="/to", hint="give its key")
    target = project_to_join(tx, to, "to")
    if target.id == project.id:
        raise Invalid("its open tasks are in that project already", field="/to", hint="name another one")
    for task in tasks:
        refuse_estimate_in_other_unit(tx, task, target)
        tx.update(task, project=target.id)
