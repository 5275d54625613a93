"""When each task can start and must finish: the critical-path method over working time.

Early dates come from a pass forward through the graph of `moments`, late dates from a pass backward from the last
finish; slack is the difference, and open tasks without slack are critical. (Kelley and Walker, 1959.)

Facts and doubts:

- a done task takes no time any more; what follows it starts no earlier than the day it was done;
- `wait_until`, and a hold with an end, are dates before which a task does not start;
- a hold without an end is counted as released on the first day, and is told among the assumptions;
- a task with children is a summary: it spans them, and its own estimate is not counted on top of theirs.

All offsets are whole minutes of working time since the first day; see `calendar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal

import msgspec

from . import moments
from .calendar import STANDARD, Calendar, Timeline
from .errors import Cyclic, TooLarge
from .moments import Link

LIMIT = 20_000
"""The most links that are scheduled; the answer comes within a second below it."""


NOTHING = -2
"""The cause of a moment that only the start of the schedule sets; even, as no finish is."""


class Hold(msgspec.Struct, frozen=True):
    """Why a task is held, and the day on which it is released, when that is known."""

    reason: str
    until: date | None = None


class Activity(msgspec.Struct, frozen=True):
    """A task as the schedule sees it. `minutes` is the working time still to be spent; None means not estimated.

    `done` is the day a closed task was closed on; such a task is a fact and the other fields do not count.
    """

    id: str
    minutes: int | None = None
    done: date | None = None
    wait_until: date | None = None
    hold: Hold | None = None


class Driver(msgspec.Struct, frozen=True, gc=False):
    """What sets a task's early start: another task's finish, a date of its own, or the start of the schedule.

    `task` is the one waited for when `kind` is "task"; `until` the date of a hold or of `wait_until`; `via` the
    ancestor that the constraint is inherited from; "done" says that the dates are facts.
    """

    kind: Literal["start", "task", "hold", "wait_until", "done"]
    task: str | None = None
    until: date | None = None
    via: str | None = None


class Slot(msgspec.Struct, frozen=True, gc=False):
    """The place of one task: offsets in minutes of working time, [es, ef) early and [ls, lf) late, and its dates.

    `last` is, for a summary, the child that finishes last.
    """

    es: int
    ef: int
    ls: int
    lf: int
    slack: int
    start: date
    finish: date
    driver: Driver
    done: bool = False
    summary: bool = False
    last: str | None = None


class Assumption(msgspec.Struct, frozen=True):
    """Something the dates rest on that nobody has said."""

    task: str
    kind: Literal["hold", "estimate"]
    text: str


class Schedule(msgspec.Struct, frozen=True):
    """The answer: slots in the order of the tasks given, critical tasks by early start, the last day of work.

    `finish` is None when there is no task at all. `start` is the first working day.
    """

    slots: dict[str, Slot]
    critical: list[str]
    start: date
    finish: date | None
    minutes_per_day: int
    assumptions: list[Assumption]


class Span(msgspec.Struct, frozen=True, gc=False):
    """The first and the last day of a task."""

    start: date
    finish: date


class Move(msgspec.Struct, frozen=True):
    """A task whose dates differ between two schedules; None on the side where the task is not there."""

    id: str
    before: Span | None
    after: Span | None


def schedule(
    activities: Sequence[Activity],
    links: Sequence[Link],
    start: date,
    calendar: Calendar = STANDARD,
    *,
    default_minutes: int | None = None,
) -> Schedule:
    """Return the early and late dates of every task, from the first working day at or after `start`.

    A task without an estimate is counted with `default_minutes`, one working day unless given, and told among the
    assumptions. Raises TooLarge over `LIMIT` links, Cyclic when tasks wait for each other.
    """
    if len(links) > LIMIT:
        raise TooLarge("links", len(links), LIMIT)
    run = _Run(activities, links, Timeline(calendar, start), calendar)
    run.estimate(calendar.minutes_per_day if default_minutes is None else default_minutes)
    run.forward()
    run.backward()
    slots = {activity.id: run.slot(position) for position, activity in enumerate(activities)}
    open_ids = [id for id, slot in slots.items() if not slot.done]
    critical = [id for id in open_ids if not slots[id].slack and not slots[id].summary]
    critical.sort(key=lambda task: (slots[task].es, slots[task].ef, run.rank[2 * run.positions[task]]))
    finish = max((slots[id].finish for id in open_ids or slots), default=None)
    first = run.timeline.working_day(0)
    return Schedule(slots, critical, first, finish, calendar.minutes_per_day, run.assumptions)


def chain(result: Schedule, id: str) -> list[tuple[str, Driver]]:
    """Return why a task starts when it does: the task, what drives it, what drives that, back to the root.

    Each item is a task and the driver of its early start. Raises KeyError for an unknown task.
    """
    steps: list[tuple[str, Driver]] = []
    current: str | None = id
    while current is not None and len(steps) <= len(result.slots):
        slot = result.slots[current]
        if slot.summary and steps:
            # What follows a summary waits for the child that ends it, and only that child's start is telling.
            while slot.summary and slot.last is not None:
                current = slot.last
                slot = result.slots[current]
        steps.append((current, slot.driver))
        current = slot.driver.task
    return steps


def impact(before: Schedule, after: Schedule) -> list[Move]:
    """Return the tasks whose dates differ, by their new dates (gone ones last), then by id."""
    moved: list[Move] = []
    for id in dict.fromkeys((*before.slots, *after.slots)):
        old, new = _span(before, id), _span(after, id)
        if old != new:
            moved.append(Move(id, old, new))
    return sorted(
        moved,
        key=lambda move: (
            (move.after.start, move.after.finish, move.id) if move.after else (date.max, date.max, move.id)
        ),
    )


def _span(result: Schedule, id: str) -> Span | None:
    slot = result.slots.get(id)
    return Span(slot.start, slot.finish) if slot else None


class _Run:
    """One computation: arrays over moments, filled by `estimate`, `forward` and `backward` in that order."""

    def __init__(
        self, activities: Sequence[Activity], links: Sequence[Link], timeline: Timeline, calendar: Calendar
    ) -> None:
        self.activities = activities
        self.timeline = timeline
        self.per_day = calendar.minutes_per_day
        self.positions = {activity.id: position for position, activity in enumerate(activities)}
        self.after = moments.followers(self.positions, links)
        self.order = moments.topological(self.after)
        if len(self.order) < len(self.after):
            raise Cyclic(self._cycle())
        self.rank = {moment: rank for rank, moment in enumerate(self.order)}
        self.done = [activity.done is not None for activity in activities]
        self.children = self._children(links)
        self.work = [0] * len(activities)
        self.assumptions: list[Assumption] = []
        self.early = [0] * len(self.after)
        self.late = [0] * len(self.after)
        self.cause = [NOTHING] * len(self.after)
        self.drivers: list[Driver] = [Driver("start")] * len(activities)
        self.spans: dict[int, int] = {}

    def estimate(self, default: int) -> None:
        """Fill the working time of each open task, and note what had to be assumed."""
        for position, activity in enumerate(self.activities):
            if self.done[position]:
                continue
            if activity.hold is not None and activity.hold.until is None:
                text = f'hold "{activity.hold.reason}" has no end; counted as released on the first day'
                self.assumptions.append(Assumption(activity.id, "hold", text))
            if position in self.children:
                continue
            if activity.minutes is None:
                text = f"no estimate; counted as {default} minutes of working time"
                self.assumptions.append(Assumption(activity.id, "estimate", text))
            elif activity.minutes < 0:
                raise ValueError(f"task {activity.id}: minutes must be 0 or more, not {activity.minutes}")
            self.work[position] = default if activity.minutes is None else activity.minutes

    def forward(self) -> None:
        """Fill the early moments and what causes them."""
        early, cause, work, done = self.early, self.cause, self.work, self.done
        for moment in self.order:
            position = moment >> 1
            if not moment & 1:
                self.drivers[position] = self._driver(position)
            elif done[position]:
                early[moment] = self._fact(self.activities[position])
            reached = early[moment]
            for target in self.after[moment]:
                own_finish = target == moment + 1 and not moment & 1
                value = reached + work[position] if own_finish else reached
                # A summary that ends level with a child is said to end with that child, not with its own start.
                ends = moment & target & 1 and not cause[target] & 1
                if value > early[target] or (ends and value == early[target]):
                    early[target], cause[target] = value, moment

    def backward(self) -> None:
        """Fill the late moments, from the last finish of an open task."""
        late, work, done = self.late, self.work, self.done
        end = max((self.early[2 * p + 1] for p in range(len(done)) if not done[p]), default=0)
        for moment in reversed(self.order):
            position = moment >> 1
            value = end
            for target in self.after[moment]:
                if target & 1 and done[target >> 1]:
                    continue  # a fact does not press on what came before it
                own_finish = target == moment + 1 and not moment & 1
                value = min(value, late[target] - work[position] if own_finish else late[target])
            late[moment] = value

    def slot(self, position: int) -> Slot:
        """Return the place of one task from the filled arrays."""
        activity, first, last = self.activities[position], 2 * position, 2 * position + 1
        if activity.done is not None:
            fact = self.early[last]
            driver = Driver("done", until=activity.done)
            return Slot(fact, fact, fact, fact, 0, activity.done, activity.done, driver, done=True)
        summary = position in self.children
        es = self._span_start(position) if summary else self.early[first]
        ef = self.early[last]
        slack = self.late[last] - ef
        ends = self.cause[last] >> 1 if summary and self.cause[last] & 1 else None
        return Slot(
            es, ef, es + slack, self.late[last], slack, *self._dates(position, es, ef),
            self.drivers[position], summary=summary,
            last=None if ends is None else self.activities[ends].id,
        )  # fmt: skip

    def _dates(self, position: int, es: int, ef: int) -> tuple[date, date]:
        begin = es
        if es == ef and es > 0 and self.drivers[position].kind == "task":
            begin = es - 1  # a milestone falls on the day that ends what it waits for, not on the next one
        return self.timeline.start_date(begin), self.timeline.finish_date(begin, ef)

    def _driver(self, position: int) -> Driver:
        """Return what sets the early start of a task, after raising it to the task's own dates."""
        activity, moment = self.activities[position], 2 * position
        driver = Driver("start")
        cause = self.cause[moment]
        if cause >= 0 and cause & 1:
            driver = Driver("task", task=self.activities[cause >> 1].id)
        elif cause >= 0:
            above = self.drivers[cause >> 1]
            via = above.via or self.activities[cause >> 1].id
            driver = Driver(above.kind, task=above.task, until=above.until, via=via)
        if self.done[position]:
            return driver
        held = activity.hold.until if activity.hold is not None else None
        if held is not None and self.timeline.offset(held) > self.early[moment]:
            self.early[moment] = self.timeline.offset(held)
            driver = Driver("hold", until=held)
        wait = activity.wait_until
        if wait is not None and self.timeline.offset(wait) > self.early[moment]:
            self.early[moment] = self.timeline.offset(wait)
            driver = Driver("wait_until", until=wait)
        return driver

    def _fact(self, activity: Activity) -> int:
        return max(0, self.timeline.offset(activity.done)) if activity.done is not None else 0

    def _span_start(self, position: int) -> int:
        """Return the earliest start below a summary; children are looked up in any order, each only once."""
        stack = [position]
        while stack:
            current = stack[-1]
            inner = [
                child
                for child in self.children.get(current, ())
                if child in self.children and not self.done[child] and child not in self.spans
            ]
            if inner:
                stack.extend(inner)
                continue
            starts = (self._early_start(child) for child in self.children.get(current, ()))
            self.spans[current] = min(starts, default=self.early[2 * current])
            stack.pop()
        return self.spans[position]

    def _early_start(self, position: int) -> int:
        if self.done[position]:
            return self.early[2 * position + 1]
        return self.spans.get(position, self.early[2 * position])

    def _children(self, links: Sequence[Link]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for link in links:
            if link.kind == "parent" and link.source in self.positions and link.target in self.positions:
                found.setdefault(self.positions[link.source], []).append(self.positions[link.target])
        return found

    def _cycle(self) -> list[str]:
        ids = list(self.positions)
        told = list(dict.fromkeys(ids[moment >> 1] for moment in moments.ring(self.after, self.order)))
        return [*told, told[0]]
