"""What is kept of a task, what is said of it, and what must hold for it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from coder_local.api import (
    Conflict,
    Event,
    Fault,
    Id,
    Index,
    Instant,
    LocalDate,
    Markdown,
    Rank,
    Record,
    Title,
    Transaction,
    Value,
)
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import (
    Category,
    Estimate,
    Name,
    Source,
    changed,
    day_faults,
    domain,
    estimate_faults,
    refuse,
)
from coder_plugins.planning.rules import recurrence as recurrences
from coder_plugins.planning.rules.recurrence import Recurrence

Status = Literal["backlog", "todo", "doing", "review", "done", "dropped"]
Priority = Literal["none", "low", "medium", "high", "urgent"]
TaskKind = Annotated[str, Meta(min_length=1, max_length=50)]
"""A word for what sort of work it is: `feature`, `bug`, `chore`, `epic`."""

CATEGORY: dict[str, Category] = {
    "backlog": "backlog", "todo": "todo", "doing": "active", "review": "active", "done": "closed", "dropped": "closed",
}  # fmt: skip
CLOSED = frozenset({"done", "dropped"})

MOST_TAGS = 200
LONGEST_TAG = 100
MOST_ITEMS = 1_000


class ChecklistItem(Value):
    """One line of a checklist."""

    text: Annotated[str, Meta(min_length=1, max_length=1_000)]
    """What is to be done, in a line."""
    done: bool = False
    """Whether it is ticked off."""


_CHOICE = Index(
    name="choice",
    fields=(
        "workspace_id", "status", "priority", "due", "created_at", "tags", "project", "hold_reason", "hold_until",
        "wait_until", "rank",
    ),
    where="status IN ('backlog', 'todo', 'doing', 'review')",
)  # fmt: skip
"""All that choosing reads of an open task: texts of some kilobytes lie between, and it looks at every task."""


@domain.table(
    "tasks",
    unique=(("workspace_id", "key"), ("workspace_id", "source")),
    indexes=(("project",), _CHOICE),
    key="key",
    read_only=(
        "key", "project", "status", "rank", "hold_reason", "hold_until", "started_at", "completed_at", "missed",
        "recurred_as", "source",
    ),
)  # fmt: skip
class Task(Record):
    """One thing to be done.

    `status`, `project`, `rank` and the hold are written by verbs only (start, finish, hold, release, reopen, drop,
    move, reorder), because each has a consequence elsewhere; an import and an undo write them as they were.
    """

    key: str
    """What people call it: `PLAN-12`, the project's key and a number never given again; it stays on a move."""
    project: Id | None = None
    title: Title
    description: Markdown = ""
    kind: TaskKind | None = None
    status: Status = "todo"
    priority: Priority = "none"
    estimate: Estimate | None = None
    due: LocalDate | None = None
    """The day by whose end it should be done. A day, not a moment: the planner counts in working days."""
    wait_until: LocalDate | None = None
    """The first day on which it can be worked on; it is not ready before."""
    recurrence: Recurrence | None = None
    """When it comes back. One instance is open at a time; finishing it makes the next."""
    missed: int = 0
    """Due dates of a fixed recurrence that passed while it was open, as of the last `planning.tasks.roll`."""
    recurred_as: Id | None = None
    """The next instance, which finishing this one made."""
    assignee: Name | None = None
    tags: list[str] = field(default_factory=list[str])
    rank: Rank
    """Its place in the one list that a person can drag; see `planning.tasks.reorder`."""
    hold_reason: str | None = None
    """Why it is held; a held task is blocked."""
    hold_until: LocalDate | None = None
    """The day on which the hold ends by itself; without one it is released by hand."""
    checklist: list[ChecklistItem] = field(default_factory=list[ChecklistItem])
    started_at: Instant | None = None
    """When work on it began, the first time."""
    completed_at: Instant | None = None
    """When it was done or dropped; empty while it is open."""
    source: Source | None = None
    """Set on import: which foreign record this one is kept equal to, `beads:bd-12`."""


tasks = domain.standard(
    Task,
    # create gives the key and the rank, delete stops timers: see operations
    operations=("list", "get", "update", "history"),
    filters=("project", "status"),
    references={"project": Project},
    sort=("rank",),
    search=("title", "key", "description"),
)


@domain.event("planning.task.started")
class TaskStarted(Event):
    """Work on a task began."""

    task: str


@domain.event("planning.task.completed")
class TaskCompleted(Event):
    """A task was done."""

    task: str
    freed: list[str] = field(default_factory=list[str])
    """Ids of tasks that it was the last to block, at most 100 of them."""
    freed_count: int = 0
    next: str | None = None
    """Id of the next instance of a recurring task."""


@domain.event("planning.task.held")
class TaskHeld(Event):
    """A task was put on hold."""

    task: str


@domain.event("planning.task.split")
class TaskSplit(Event):
    """A task was divided; it is replaced by its parts."""

    task: str
    parts: list[str]


@domain.event("planning.task.merged")
class TaskMerged(Event):
    """Tasks were joined into one; the others are replaced by it."""

    task: str
    others: list[str]


@domain.rule(Task)
def check_task(tx: Transaction, before: Task | None, after: Task) -> None:
    """Refuse bad dates, an estimate that does not rise, a recurrence that never comes, and an end under a timer."""
    if before is not None and changed(before, after, "status", "deleted_at"):
        _refuse_running_timer(tx, after)
    if after.deleted_at is not None:
        return
    faults: list[Fault] = []
    if changed(before, after, "due", "wait_until", "hold_until"):
        faults += _day_faults(after)
    if changed(before, after, "estimate"):
        faults += estimate_faults(after.estimate)
    if changed(before, after, "recurrence"):
        faults += _recurrence_faults(after.recurrence)
    if changed(before, after, "title", "tags", "checklist"):
        faults += _size_faults(after)
    if after.project is not None and changed(before, after, "project"):
        sql = "SELECT 1 FROM planning_projects WHERE id = :id AND deleted_at IS NULL"
        if not tx.rows(sql, id=after.project):
            hint = "look ids up with planning.projects.list"
            faults.append(Fault("/project", f"there is no project with id {after.project!r}", hint))
    refuse(faults)


def _refuse_running_timer(tx: Transaction, task: Task) -> None:
    """Raise `Conflict` when a timer would run on for a task that is gone; verbs stop it before they write this."""
    if task.deleted_at is None and task.status not in CLOSED:
        return
    sql = "SELECT actor FROM planning_times WHERE task = :task AND stopped_at IS NULL AND deleted_at IS NULL"
    running = tx.rows(sql, task=task.id)
    if running:
        raise Conflict(
            f"a timer of {running[0][0]} runs on {task.key}",
            hint="stop it first with planning.time.stop",
            data={"running": [task.key]},
        )


def _day_faults(task: Task) -> list[Fault]:
    faults = day_faults(due=task.due, wait_until=task.wait_until, hold_until=task.hold_until)
    if not faults and task.due and task.wait_until and task.due < task.wait_until:
        hint = "move one of them; a task cannot be due before it can be begun"
        faults.append(Fault("/due", f"due {task.due} is before its start (wait_until {task.wait_until})", hint))
    return faults


def _recurrence_faults(rule: Recurrence | None) -> list[Fault]:
    if rule is None or rule.mode == "after_done":
        return []
    try:
        first = recurrences.next_due(rule, None, rule.start) if rule.start else None
    except ValueError as error:
        return [Fault("/recurrence/rrule", str(error), "write an iCalendar RRULE, like FREQ=WEEKLY;BYDAY=MO")]
    if first is None:
        return [Fault("/recurrence", "this recurrence never comes: it ends before it begins", "set until after start")]
    return []


def _size_faults(task: Task) -> list[Fault]:
    faults: list[Fault] = []
    if not 1 <= len(task.title) <= 300:
        faults.append(Fault("/title", f"a title has 1 to 300 characters, not {len(task.title)}"))
    if len(task.tags) > MOST_TAGS or any(not 1 <= len(tag) <= LONGEST_TAG for tag in task.tags):
        faults.append(Fault("/tags", f"at most {MOST_TAGS} tags of 1 to {LONGEST_TAG} characters"))
    if len(task.checklist) > MOST_ITEMS or any(not 1 <= len(item.text) <= 1_000 for item in task.checklist):
        faults.append(Fault("/checklist", f"at most {MOST_ITEMS} items of 1 to 1000 characters"))
    return faults
