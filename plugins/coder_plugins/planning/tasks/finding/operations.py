"""Finding tasks and projects by what people call them, and giving new tasks their key and rank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from coder_local.api import Conflict, NotFound, Snapshot, Transaction, Value, between, sequence
from coder_plugins.planning.projects.records import CLOSED as CLOSED_PROJECT
from coder_plugins.planning.projects.records import PREFIX, Project
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.tasks.records import Priority, Status, Task

KEY = re.compile(r"[A-Z][A-Z0-9]{1,9}-[1-9]\d{0,9}", re.ASCII)
PROJECT_KEY = re.compile(r"[A-Z][A-Z0-9]{1,9}", re.ASCII)


class TaskLine(Value):
    """A task as one line of a list shows it."""

    id: str
    key: str
    title: str
    status: Status
    priority: Priority
    project: str | None
    """Id of its project."""
    due: str | None
    rank: str


@domain.query("planning.tasks.find", quick=True)
def find(read: Snapshot, *, task: Reference) -> Task:
    """Return one task by its key, such as `PLAN-12`, or by its id."""
    return find_task(read, task, "task")


def find_task(scope: Snapshot, reference: str, field: str = "id") -> Task:
    """Return the task with that id or key (`PLAN-12`, in any case). Raises `NotFound` naming `field`."""
    found: Task | None = None
    if KEY.fullmatch(reference.upper()):
        where = "workspace_id = :workspace AND key = :key"
        found = next(iter(scope.select(Task, where, workspace=scope.workspace, key=reference.upper())), None)
    found = found or scope.find(Task, reference)
    if found is None or found.workspace_id != scope.workspace:
        raise _missing("task", reference, field)
    return found


def find_project(scope: Snapshot, reference: str, field: str = "project") -> Project:
    """Return the project with that id or key (`PLAN`, in any case). Raises `NotFound` naming `field`."""
    found: Project | None = None
    if PROJECT_KEY.fullmatch(reference.upper()):
        where = "workspace_id = :workspace AND key = :key"
        found = next(iter(scope.select(Project, where, workspace=scope.workspace, key=reference.upper())), None)
    found = found or scope.find(Project, reference)
    if found is None or found.workspace_id != scope.workspace:
        raise _missing("project", reference, field)
    return found


def project_to_join(scope: Snapshot, reference: str, field: str = "project") -> Project:
    """Return the project that a task is to be put into. Raises `Conflict` for one that is over."""
    project = find_project(scope, reference, field)
    if project.status in CLOSED_PROJECT:
        raise Conflict(
            f"{project.key} is {project.status}",
            field=f"/{field}",
            hint="set its status to active first (planning.projects.update)",
        )
    return project


def _missing(word: str, reference: str, field: str) -> NotFound:
    example = "PLAN-12" if word == "task" else "PLAN"
    return NotFound(
        f"no {word} {reference!r}",
        field=f"/{field}",
        hint=f"name it by its id or its key, like {example}; see planning.{word}s.list",
        data={"record": f"planning.{word}", "id": reference},
    )


def next_key(tx: Transaction, project: Project | None) -> str:
    """Return a key that was never given before in the workspace, `PLAN-12`, or `TASK-12` without a project."""
    prefix = PREFIX if project is None else project.key
    while True:
        key = f"{prefix}-{tx.number(f'planning.tasks/{tx.workspace}/{prefix}')}"
        # An import may have brought keys of its own.
        taken = tx.rows(
            "SELECT 1 FROM planning_tasks WHERE workspace_id = :workspace AND key = :key AND deleted_at IS NULL",
            workspace=tx.workspace,
            key=key,
        )
        if not taken:
            return key


def last_rank(scope: Snapshot) -> str | None:
    """Return the rank of the last task of the list, or None when there is none."""
    rows = scope.rows(
        "SELECT rank FROM planning_tasks WHERE workspace_id = :workspace AND deleted_at IS NULL"
        " ORDER BY rank DESC LIMIT 1",
        workspace=scope.workspace,
    )
    return rows[0][0] if rows else None


def new_rank(scope: Snapshot) -> str:
    """Return the rank after that of the last task."""
    return between(last_rank(scope), None)


def ranks_after(scope: Snapshot, rank: str, count: int) -> list[str]:
    """Return `count` ranks between a rank and the next one in use."""
    rows = scope.rows(
        "SELECT rank FROM planning_tasks WHERE workspace_id = :workspace AND rank > :rank AND deleted_at IS NULL"
        " ORDER BY rank LIMIT 1",
        workspace=scope.workspace,
        rank=rank,
    )
    return sequence(rank, rows[0][0] if rows else None, count)


def lines(scope: Snapshot, ids: Sequence[str]) -> dict[str, TaskLine]:
    """Return the lines of these tasks by id, in the order of `ids`; those that are gone are left out."""
    rows = scope.rows(
        "SELECT id, key, title, status, priority, project, due, rank FROM planning_tasks"
        " WHERE id IN (SELECT value FROM json_each(:ids))",
        ids=ids,
    )
    found = {row[0]: _line(row) for row in rows}
    return {id: found[id] for id in ids if id in found}


def line(task: Task) -> TaskLine:
    """Return a task as a line."""
    return TaskLine(
        id=task.id, key=task.key, title=task.title, status=task.status, priority=task.priority, project=task.project,
        due=task.due, rank=task.rank,
    )  # fmt: skip


def _line(row: tuple[Any, ...]) -> TaskLine:
    id, key, title, status, priority, project, due, rank = row
    return TaskLine(id=id, key=key, title=title, status=status, priority=priority, project=project, due=due, rank=rank)


def refuse_estimate_in_other_unit(scope: Snapshot, task: Task, project: Project | None) -> None:
    """Raise `Conflict` if an estimated task would come to a project that counts in the other unit."""
    unit = "hours" if project is None else project.unit
    if task.estimate is not None and unit != unit_of(scope, task.project):
        raise Conflict(
            f"{task.key} is not estimated in {unit}",
            field="/estimate",
            hint="clear its estimate first; a project has one unit",
        )


def unit_of(scope: Snapshot, project: str | None) -> str:
    """Return what the estimates of a project's tasks count: `hours`, or `points`."""
    if project is None:
        return "hours"
    rows = scope.rows("SELECT unit FROM planning_projects WHERE id = :id", id=project)
    return rows[0][0] if rows else "hours"
