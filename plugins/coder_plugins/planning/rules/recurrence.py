"""Tasks that come back: when the next one is due, and how many were missed meanwhile.

Two modes. `after_done`: the next one is due some time after the last was finished. `fixed`: due dates lie on a grid
that the finish day does not move. Either way there is one open task at a time; dates of the grid that pass while it is
open are counted as missed and make no more tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice, takewhile
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from . import rrules
from .days import plus
from .rrules import Unit

LIMIT = 1_000
"""The most instances that an endless rule may make on an import."""


class Endless(ValueError):
    """A rule without an end would make more instances than `LIMIT`."""


class Recurrence(msgspec.Struct, frozen=True):
    """When a task comes back: every so many units, or as the text of an iCalendar RRULE says.

    A month that lacks the start's day has its last day instead, and the day comes back in the next month that has it.
    """

    mode: Literal["after_done", "fixed"]
    """Counted from the day on which it was done, or on dates that the finish does not move."""
    every: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """So many units apart."""
    unit: Unit = "week"
    start: date | None = None
    """The first due date; `fixed` needs it."""
    until: date | None = None
    """The last possible due date; without it, and without `count`, it comes back for ever."""
    count: Annotated[int, Meta(ge=1)] | None = None
    """How many times it comes in all; `fixed` only."""
    rrule: Annotated[str, Meta(max_length=rrules.LONGEST_TEXT)] | None = None
    """An RRULE of RFC 5545, for dates that `every` and `unit` cannot say, like `FREQ=MONTHLY;BYDAY=1MO`; `fixed` only.

    Its frequency is DAILY, WEEKLY, MONTHLY or YEARLY; it takes the place of `every` and `unit`.
    """

    def __post_init__(self) -> None:
        # Raises ValueError, which makes a decoded one invalid.
        if not 1 <= self.every <= 1_000:
            raise ValueError(f"every must be 1 to 1000, not {self.every}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count must be 1 or more, not {self.count}")
        if self.mode == "fixed" and self.start is None:
            raise ValueError("start is required for a fixed recurrence: the first due date")
        if self.mode == "after_done" and (self.rrule is not None or self.count is not None):
            raise ValueError("an after_done recurrence takes neither rrule nor count; give it an until date")


class Instance(msgspec.Struct, frozen=True):
    """The one open instance of a recurring task: its due date, and how many before it were missed."""

    due: date
    missed: int = 0

    @property
    def text(self) -> str:
        """The missed ones in words, or an empty text."""
        return f"{self.missed} missed" if self.missed else ""


def next_due(rule: Recurrence, due: date | None, finished: date) -> date | None:
    """Return the due date after the instance due at `due` was finished, or None when the rule has ended.

    `after_done` counts from `finished`. `fixed` gives the first date of the grid after `due`, whatever the finish
    day, or the grid's first date when there was no due date.
    """
    if rule.mode == "after_done":
        following = plus(finished, rule.every, rule.unit)
        ended = following is None or (rule.until is not None and following > rule.until)
        return None if ended else following
    return next(_dates(rule, due), None)


def roll(rule: Recurrence, due: date, today: date) -> Instance:
    """Return the open instance as of `today`: due dates that were overtaken by a later one count as missed.

    An instance is overtaken on the day the next one falls due. Only a `fixed` rule overtakes. Raises ValueError for an
    RRULE that cannot be read, or that has come too often since to be counted.
    """
    if rule.mode == "after_done":
        return Instance(due)
    if rule.rrule is None:
        missed = _passed(rule, today) - _passed(rule, due)
        return Instance(_nth(rule, _passed(rule, today) - 1) or due, missed) if missed > 0 else Instance(due)
    missed, latest = 0, due
    for later in takewhile(lambda day: day <= today, _dates(rule, due)):
        missed, latest = missed + 1, later
    return Instance(latest, missed)


def instances(rule: Recurrence, first: date, last: date, *, limit: int = LIMIT) -> list[date]:
    """Return the due dates of a `fixed` rule from `first` to `last`, both included, at most `limit`.

    Raises ValueError for an `after_done` rule, whose dates depend on when each one is finished.
    """
    if rule.mode == "after_done":
        raise ValueError("an after_done recurrence has no dates in advance")
    since = first - timedelta(days=1) if first > date.min else None
    return list(islice(takewhile(lambda day: day <= last, _dates(rule, since)), limit))


def refuse_endless(rule: Recurrence, through: date) -> None:
    """Raise Endless when a rule without an end makes more than `LIMIT` instances up to `through`."""
    ends = rule.until is not None or rule.count is not None or bool(re.search("UNTIL|COUNT", rule.rrule or ""))
    if ends or rule.mode == "after_done" or rule.start is None:
        return
    if len(instances(rule, rule.start, through, limit=LIMIT + 1)) > LIMIT:
        raise Endless(f"the recurrence has no end and makes more than {LIMIT} tasks up to {through}; give it an end")


def from_rrule(text: str, start: date) -> Recurrence:
    """Return the recurrence that an iCalendar RRULE describes, its first date at `start`.

    A rule that is only a frequency with INTERVAL, UNTIL and COUNT becomes plain fields; any other keeps its text.
    Raises ValueError when it is malformed or comes more often than daily.
    """
    parts = rrules.parts(text)
    unit = rrules.FREQUENCIES[parts["FREQ"]]
    parsed = Recurrence("fixed", start=start, rrule=text.strip().upper().removeprefix("RRULE:"))
    next(_dates(parsed, None), None)
    # RFC 5545 skips a month that lacks the day, plain fields take its last day: such a rule keeps its text.
    skips = unit in ("month", "year") and start.day > 28
    if skips or not parts.keys() <= {"FREQ", "INTERVAL", "UNTIL", "COUNT"}:
        return parsed
    count = int(parts["COUNT"]) if "COUNT" in parts else None
    return Recurrence("fixed", int(parts.get("INTERVAL", "1")), unit, start, rrules.until(parts), count)


def _dates(rule: Recurrence, after: date | None) -> Iterator[date]:
    """Yield the due dates of a fixed rule after `after`, ascending."""
    if rule.start is None:
        return
    if rule.rrule is not None:
        yield from rrules.dates(rule.rrule, rule.start, after=after, last=rule.until, count=rule.count)
        return
    number = 0 if after is None or after < rule.start else _steps(rule, rule.start, after)
    while rule.count is None or number < rule.count:
        day = _nth(rule, number)
        if day is None or (rule.until is not None and day > rule.until):
            return
        if after is None or day > after:
            yield day
        number += 1


def _passed(rule: Recurrence, day: date) -> int:
    """Return how many dates of a plain grid are not after a day, without walking it."""
    day = day if rule.until is None else min(day, rule.until)
    if rule.start is None or day < rule.start:
        return 0
    number = _steps(rule, rule.start, day)
    while (following := _nth(rule, number + 1)) is not None and following <= day:
        number += 1
    return number + 1 if rule.count is None else min(number + 1, rule.count)


def _nth(rule: Recurrence, number: int) -> date | None:
    """Return a date of a plain grid, counted from 0; None past the year 9999."""
    return None if rule.start is None else plus(rule.start, number * rule.every, rule.unit)


def _steps(rule: Recurrence, start: date, after: date) -> int:
    """Return a step of the grid that is not after `after`, so that old rules are not walked from their beginning."""
    if rule.unit in ("day", "week"):
        return (after - start).days // (rule.every * (7 if rule.unit == "week" else 1))
    months = (after.year - start.year) * 12 + after.month - start.month
    return max(0, months // (rule.every * (12 if rule.unit == "year" else 1)) - 1)
