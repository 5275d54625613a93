"""What a change would move: the schedule run twice, and the difference."""

from __future__ import annotations

from datetime import date

import msgspec

from coder_local.api import Conflict, Fault, LocalDate, Snapshot, Title, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.dates import records as loading
from coder_plugins.planning.dates.operations import Holidays, compute, real_days
from coder_plugins.planning.dates.records import Plan
from coder_plugins.planning.records import Estimate, Reference, domain, estimate_faults, refuse
from coder_plugins.planning.rules import schedule as schedules
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.schedule import Activity, Hold
from coder_plugins.planning.tasks.finding.operations import find_task, unit_of
from coder_plugins.planning.tasks.records import Task


class Span(Value):
    """The first and the last day of a task."""

    start: LocalDate
    finish: LocalDate


class MovedTask(Value):
    """A task whose dates would move; empty on the side where it is not planned."""

    id: str
    key: str
    title: str
    before: Span | None
    after: Span | None


class ImpactAnswer(Value):
    """What a change would move; nothing is written."""

    moved: list[MovedTask]
    finish_before: LocalDate | None
    finish_after: LocalDate | None


class TaskChangeIdea(Value):
    """A change to one task that is only thought of; what is left out stays."""

    estimate: Estimate | None = None
    wait_until: LocalDate | None = None
    """Not begun before this day."""
    hold_until: LocalDate | None = None
    """Held until this day."""
    hold_reason: Title = "what if"
    blocked_by: tuple[Reference, ...] = ()
    """Waits for these tasks too."""
    dropped: bool = False
    """Not done at all."""


@domain.query("planning.impact")
def impact(
    read: Snapshot,
    *,
    record: Reference,
    change: TaskChangeIdea,
    start: LocalDate | None = None,
    holidays: Holidays = (),
) -> ImpactAnswer:
    """Return the dates that would move if one task were changed: the schedule run twice, and the difference.

    Moved tasks come by their new dates. Nothing is written.
    """
    task = find_task(read, record, "record")
    refuse([Fault("/change" + each.field, each.message, each.hint) for each in estimate_faults(change.estimate)])
    plan = loading.plan(read, None)
    first = date.fromisoformat(today_of(read, start))
    calendar = loading.calendar(read, first, real_days(holidays))
    before = compute(plan.activities, plan.links, first, calendar, plan.names)
    after = compute(*_changed(read, plan, task, change), first, calendar, plan.names)
    moved = [
        MovedTask(
            id=move.id, key=plan.names[move.id].key, title=plan.names[move.id].title,
            before=_span(move.before), after=_span(move.after),
        )
        for move in schedules.impact(before, after)
    ]  # fmt: skip
    return ImpactAnswer(
        moved=moved,
        finish_before=None if before.finish is None else before.finish.isoformat(),
        finish_after=None if after.finish is None else after.finish.isoformat(),
    )


def _changed(read: Snapshot, plan: Plan, task: Task, change: TaskChangeIdea) -> tuple[list[Activity], list[Link]]:
    """Return the plan as it would be. Raises `Conflict` for points, whose working time nobody knows."""
    if change.estimate is not None and unit_of(read, task.project) == "points":
        raise Conflict("its project counts in points, which have no working time", field="/change/estimate")
    activities: list[Activity] = []
    for activity in plan.activities:
        if activity.id != task.id:
            activities.append(activity)
        elif not change.dropped:
            activities.append(_reshaped(activity, change))
    extra = [Link("blocks", find_task(read, each, "change/blocked_by").id, task.id) for each in change.blocked_by]
    known = {activity.id for activity in activities}
    links = [link for link in (*plan.links, *extra) if link.source in known and link.target in known]
    return activities, links


def _reshaped(activity: Activity, change: TaskChangeIdea) -> Activity:
    changes: dict[str, object] = {}
    if change.estimate is not None:
        changes["minutes"] = change.estimate.likely
    if change.wait_until is not None:
        changes["wait_until"] = date.fromisoformat(change.wait_until)
    if change.hold_until is not None:
        changes["hold"] = Hold(change.hold_reason, date.fromisoformat(change.hold_until))
    return msgspec.structs.replace(activity, **changes)


def _span(span: schedules.Span | None) -> Span | None:
    return None if span is None else Span(start=span.start.isoformat(), finish=span.finish.isoformat())
