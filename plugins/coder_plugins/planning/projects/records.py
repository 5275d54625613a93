"""What is kept of a project, and what must hold for it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Conflict, Fault, Instant, LocalDate, Markdown, Record, Title, Transaction
from coder_plugins.planning.records import Name, Source, changed, day_faults, domain, refuse

PREFIX = "TASK"
"""What the keys of tasks without a project begin with; no project may have it as its key."""

ProjectKey = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9]{1,9}$")]
"""2 to 10 of A-Z and 0-9, a letter first: `PLAN`. The keys of its tasks begin with it."""

CLOSED = frozenset({"completed", "cancelled"})


@domain.table(
    "projects",
    unique=(("workspace_id", "key"), ("workspace_id", "source")),
    read_only=("archived_at", "source"),
    key="key",
)
class Project(Record):
    """Tasks that belong together."""

    name: Title
    key: ProjectKey
    """Unique in the workspace. Changing it leaves the keys of the tasks that are there."""
    lead: Name | None = None
    status: Literal["draft", "active", "paused", "completed", "cancelled"] = "active"
    """Completed and cancelled need all tasks closed; `planning.projects.complete` says what becomes of open ones."""
    goal: Markdown | None = None
    start: LocalDate | None = None
    target: LocalDate | None = None
    """The day by which it should be done; `planning.projects.health` holds it against the forecast."""
    unit: Literal["hours", "points"] = "hours"
    """What its estimates count: minutes of working time, or points."""
    archived_at: Instant | None = None
    """Set by `planning.projects.archive`: hidden from next and ready, never deleted."""
    source: Source | None = None
    """Set on import: which foreign record this one is kept equal to."""


projects = domain.standard(
    Project,
    operations=("list", "get", "create", "update", "delete", "history"),
    filters=("status",),
    sort=("name",),
    search=("name", "key", "goal"),
)


@domain.rule(Project)
def check_project(tx: Transaction, before: Project | None, after: Project) -> None:
    """Refuse a bad key, a target before the start, a second unit, and an end while work or a timer goes on."""
    if after.deleted_at is not None:
        _refuse_orphans(tx, after)
        return
    faults = day_faults(start=after.start, target=after.target)
    if not re.fullmatch(r"[A-Z][A-Z0-9]{1,9}", after.key, re.ASCII):
        faults.append(Fault("/key", f"{after.key[:20]!r} is no key", "2 to 10 of A-Z and 0-9, a letter first: PLAN"))
    elif after.key == PREFIX:
        faults.append(Fault("/key", f"{PREFIX} begins the keys of tasks without a project", "choose another key"))
    if not 1 <= len(after.name) <= 300:
        faults.append(Fault("/name", "a name has 1 to 300 characters"))
    if not faults and after.start and after.target and after.target < after.start:
        hint = f"set a target on or after {after.start}"
        faults.append(Fault("/target", f"the target {after.target} is before the start {after.start}", hint))
    refuse(faults)
    if before is None:
        return
    if before.unit != after.unit:
        _refuse_second_unit(tx, after)
    if after.status in CLOSED and changed(before, after, "status"):
        _refuse_open_tasks(tx, after)
        refuse_running_timer(tx, after)
    if after.archived_at is not None and changed(before, after, "archived_at"):
        refuse_running_timer(tx, after)


def _refuse_orphans(tx: Transaction, project: Project) -> None:
    count = _count(tx, project)
    if count:
        raise Conflict(
            f"{project.key} has {count} tasks",
            hint="archive it (planning.projects.archive), or move or delete its tasks first",
            data={"tasks": count},
        )


def _count(tx: Transaction, project: Project) -> int:
    sql = "SELECT count(*) FROM planning_tasks WHERE project = :id AND deleted_at IS NULL"
    return int(tx.rows(sql, id=project.id)[0][0])


def _refuse_second_unit(tx: Transaction, project: Project) -> None:
    estimated = tx.rows(
        "SELECT key FROM planning_tasks WHERE project = :id AND deleted_at IS NULL AND estimate IS NOT NULL LIMIT 5",
        id=project.id,
    )
    if estimated:
        raise Conflict(
            "its tasks are estimated in the other unit: " + ", ".join(key for (key,) in estimated),
            field="/unit",
            hint="clear their estimates first; a project has one unit",
        )


def _refuse_open_tasks(tx: Transaction, project: Project) -> None:
    found = tx.rows(
        "SELECT key FROM planning_tasks WHERE project = :id AND deleted_at IS NULL"
        " AND status NOT IN ('done', 'dropped') ORDER BY rank, id",
        id=project.id,
    )
    if found:
        raise Conflict(
            f"{len(found)} tasks of {project.key} are open",
            field="/status",
            hint="planning.projects.complete takes open_tasks: finish, drop or move",
            data={"open": [key for (key,) in found[:50]], "count": len(found)},
        )


def refuse_running_timer(tx: Transaction, project: Project) -> None:
    """Raise `Conflict` while a timer runs on one of the project's tasks."""
    running = tx.rows(
        "SELECT t.key, e.actor FROM planning_times e JOIN planning_tasks t ON t.id = e.task"
        " WHERE e.stopped_at IS NULL AND e.deleted_at IS NULL AND t.project = :id AND t.deleted_at IS NULL LIMIT 5",
        id=project.id,
    )
    if running:
        raise Conflict(
            "a timer runs on " + ", ".join(f"{key} ({actor})" for key, actor in running),
            hint="stop it with planning.time.stop, or pass stop_timers",
            data={"running": [key for key, _ in running]},
        )
