"""What may be asked about dates: when each task can be done, what a change would move, and when all will be done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Conflict, Fault, LocalDate, Snapshot, TooLarge, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.records import Reference, domain, refuse
from coder_plugins.planning.rules import schedule as schedules
from coder_plugins.planning.rules.calendar import Calendar
from coder_plugins.planning.rules.errors import Cyclic
from coder_plugins.planning.rules.errors import TooLarge as OverLimit
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.schedule import Activity, Schedule
from coder_plugins.planning.tasks.finding.operations import find_project

from . import records as loading
from .records import Named

Most = Annotated[int, Meta(ge=1, le=10_000, description="Tasks in the answer; all unless given.")]
Holidays = Annotated[tuple[LocalDate, ...], Meta(max_length=1_000)]


class ScheduledTask(Value):
    """The place of one open task, in minutes of working time since the start: [es, ef) early, [ls, lf) late."""

    id: str
    key: str
    title: str
    es: int
    ef: int
    ls: int
    lf: int
    slack: int
    """Minutes by which it may slip before the finish moves."""
    start: LocalDate
    finish: LocalDate
    summary: bool = False
    """It has children and spans them."""
    outside: bool = False
    """It belongs to another project, and is here because a task of this one waits for it."""


class Assumed(Value):
    """Something the dates rest on that nobody has said."""

    task: str
    """Key of the task."""
    kind: Literal["hold", "estimate"]
    text: str


class ScheduleAnswer(Value):
    """When each open task can start and must finish."""

    items: list[ScheduledTask]
    """In the order of the list."""
    total: int
    """How many there are in all."""
    critical: list[str]
    """Keys of the open tasks without slack, by early start: a day lost on one of them is a day lost."""
    start: LocalDate
    """The first working day."""
    finish: LocalDate | None
    """The last day of work; empty when there is nothing to do."""
    minutes_per_day: int
    assumptions: list[Assumed]


@domain.query("planning.schedule")
def schedule(
    read: Snapshot,
    *,
    project: Reference | None = None,
    start: LocalDate | None = None,
    holidays: Holidays = (),
    limit: Most | None = None,
) -> ScheduleAnswer:
    """Return early and late dates of every open task, its slack, the critical path and the finish.

    Critical-path method over working time, from `start` (today unless given): Monday to Friday, 8 h, or the calendar
    plugin's working time, less `holidays`. Holds and `wait_until` push; done tasks pin the dates of what follows them
    and are not in the answer; recorded time is not counted again. The finish and the critical path are those of all
    tasks, however many items are asked for. Raises `too_large` over 20,000 links.
    """
    own = None if project is None else find_project(read, project).id
    plan = loading.plan(read, own)
    first = date.fromisoformat(today_of(read, start))
    result = compute(plan.activities, plan.links, first, loading.calendar(read, first, real_days(holidays)), plan.names)
    open_ = [id for id, slot in result.slots.items() if not slot.done]
    return ScheduleAnswer(
        items=[_scheduled(id, result.slots[id], plan.names[id], own) for id in open_[:limit]],
        total=len(open_),
        critical=[plan.names[id].key for id in result.critical],
        start=result.start.isoformat(),
        finish=None if result.finish is None else result.finish.isoformat(),
        minutes_per_day=result.minutes_per_day,
        assumptions=[
            Assumed(task=plan.names[each.task].key, kind=each.kind, text=each.text) for each in result.assumptions
        ],
    )


def compute(
    activities: list[Activity], links: list[Link], start: date, calendar: Calendar, names: Mapping[str, Named]
) -> Schedule:
    """Return the schedule. Raises `TooLarge` over the limit, `Conflict` when tasks wait for each other."""
    try:
        return schedules.schedule(activities, links, start, calendar)
    except OverLimit as error:
        hint = "schedule one project, or fewer links"
        raise TooLarge(str(error), hint=hint, data={"limit": error.limit, "count": error.count}) from error
    except Cyclic as error:
        told = [names[id].key for id in error.cycle]
        message = "tasks wait for each other: " + " > ".join(told)
        raise Conflict(message, hint="take one of these links away", data={"cycle": told}) from error


def _scheduled(id: str, slot: schedules.Slot, name: Named, project: str | None) -> ScheduledTask:
    return ScheduledTask(
        id=id, key=name.key, title=name.title, es=slot.es, ef=slot.ef, ls=slot.ls, lf=slot.lf, slack=slot.slack,
        start=slot.start.isoformat(), finish=slot.finish.isoformat(), summary=slot.summary,
        outside=project is not None and name.project != project,
    )  # fmt: skip


def real_days(days: tuple[str, ...]) -> tuple[str, ...]:
    """Return the days, all of them real ones. Raises `Invalid` naming those that are not."""
    faults: list[Fault] = []
    for number, day in enumerate(days):
        try:
            date.fromisoformat(day)
        except ValueError:
            faults.append(Fault(f"/holidays/{number}", f"{day!r} is not a day of the calendar"))
    refuse(faults)
    return days
