"""What may be asked about dates: when each task can be done, what a change would move, and when all will be done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Conflict, Fault, LocalDate, Refused, Snapshot, TooLarge, Value
from coder_plugins.planning.choice.loading import today_of
from coder_plugins.planning.records import Amount, Reference, domain, refuse
from coder_plugins.planning.rules import forecast as forecasts
from coder_plugins.planning.rules import schedule as schedules
from coder_plugins.planning.rules.calendar import Calendar
from coder_plugins.planning.rules.errors import Cyclic, ThinData
from coder_plugins.planning.rules.errors import TooLarge as OverLimit
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.schedule import Activity, Schedule
from coder_plugins.planning.tasks.finding import find_project

from . import loading
from .loading import Named
from .throughput import remaining as count_remaining
from .throughput import throughput as read_throughput

Holidays = Annotated[tuple[LocalDate, ...], Meta(max_length=1_000)]


class ScheduledTask(Value):
    """The place of one task. Offsets are minutes of working time since the start: [es, ef) early, [ls, lf) late."""

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
    done: bool = False
    """Its dates are facts."""
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
    """When each task can start and must finish."""

    items: list[ScheduledTask]
    critical: list[str]
    """Keys of the open tasks without slack, by early start: a day lost on one of them is a day lost."""
    start: LocalDate
    """The first working day."""
    finish: LocalDate | None
    """The last day of work; empty when there is nothing to do."""
    minutes_per_day: int
    assumptions: list[Assumed]


class Week(Value):
    """The chance that all is done within a number of weeks."""

    weeks: int
    day: LocalDate
    chance: float
    """0 to 1."""


class ForecastBasis(Value):
    """What a forecast rests on."""

    throughput: list[int]
    """Tasks done in each past week, oldest first."""
    remaining: int


class ForecastAnswer(Value):
    """Weeks until all is done, by confidence; empty beyond two years."""

    p50: int | None
    p85: int | None
    p95: int | None
    p50_day: LocalDate | None
    p85_day: LocalDate | None
    p95_day: LocalDate | None
    distribution: list[Week]
    basis: ForecastBasis
    until: Week | None = None
    """The chance to be done by the day that was asked about."""


@domain.query("planning.schedule")
def schedule(
    read: Snapshot,
    *,
    project: Reference | None = None,
    start: LocalDate | None = None,
    holidays: Holidays = (),
) -> ScheduleAnswer:
    """Return early and late dates of every open task, its slack, the critical path and the finish.

    Critical-path method over working time, from `start` (today unless given): Monday to Friday, 8 h, or the calendar
    plugin's working time, less `holidays`. Holds and `wait_until` push, done tasks are facts, recorded time is not
    counted again. Raises `too_large` over 20,000 links.
    """
    own = None if project is None else find_project(read, project).id
    plan = loading.plan(read, own)
    first = date.fromisoformat(today_of(read, start))
    result = compute(plan.activities, plan.links, first, loading.calendar(read, first, real_days(holidays)), plan.names)
    items = [_scheduled(id, slot, plan.names[id], own) for id, slot in result.slots.items()]
    return ScheduleAnswer(
        items=[item for item in items if plan.names[item.id].status != "dropped"],
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
        start=slot.start.isoformat(), finish=slot.finish.isoformat(), done=slot.done, summary=slot.summary,
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


@domain.query("planning.forecast")
def forecast(
    read: Snapshot,
    *,
    project: Reference | None = None,
    tags: tuple[str, ...] = (),
    until: LocalDate | None = None,
    today: LocalDate | None = None,
    throughput: Annotated[tuple[Amount, ...], Meta(max_length=520)] | None = None,
    remaining: Annotated[int, Meta(ge=0, le=100_000)] | None = None,
) -> ForecastAnswer:
    """Return when the open tasks of a project, or with all these tags, will be done, and how sure that is.

    An exact convolution of the tasks done in each of the last 12 weeks: asked twice, the same digits. `until` asks for
    the chance of one day. `throughput` (oldest week first) and `remaining` take the place of what history says. Refused
    with fewer than 4 weeks of history.
    """
    own = None if project is None else find_project(read, project).id
    day = date.fromisoformat(today_of(read, today))
    pace = read_throughput(read, own, tags, day) if throughput is None else list(throughput)
    rest = count_remaining(read, own, tags) if remaining is None else remaining
    try:
        found = forecasts.forecast(pace, rest)
    except ThinData as error:
        hint = "finish tasks for some weeks, or give throughput from elsewhere"
        raise Refused(str(error), hint=hint, data={"weeks": len(pace), "remaining": rest}) from error
    return ForecastAnswer(
        p50=found.p50,
        p85=found.p85,
        p95=found.p95,
        p50_day=_in_weeks(day, found.p50),
        p85_day=_in_weeks(day, found.p85),
        p95_day=_in_weeks(day, found.p95),
        distribution=[
            Week(weeks=each.weeks, day=_in_weeks(day, each.weeks) or "", chance=each.chance)
            for each in found.distribution
        ],
        basis=ForecastBasis(throughput=found.basis.throughput, remaining=rest),
        until=None if until is None else _by(found, day, until),
    )


def _in_weeks(day: date, weeks: int | None) -> str | None:
    return None if weeks is None else (day + timedelta(weeks=weeks)).isoformat()


def _by(found: forecasts.Forecast, day: date, until: str) -> Week:
    weeks = max(0, (date.fromisoformat(until) - day).days // 7)
    return Week(weeks=weeks, day=until, chance=forecasts.chance_within(found, weeks))
