"""The working calendar: which days are worked, and where an amount of working time ends.

Working time is counted in whole minutes. Offset 0 is the beginning of the first working day at or after the origin;
with 480 minutes a day, offsets 3 to 5 days are the half-open interval [1440, 2400): the fourth and the fifth day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from itertools import accumulate

import msgspec

MONDAY_TO_FRIDAY = frozenset(range(5))
MINUTES_PER_DAY = 480


class Calendar(msgspec.Struct, frozen=True):
    """The days that are worked and the minutes worked on each of them.

    `weekdays` counts from Monday 0 to Sunday 6. Raises ValueError when no weekday is worked or `minutes_per_day` is
    outside 1..1440.
    """

    weekdays: frozenset[int] = MONDAY_TO_FRIDAY
    minutes_per_day: int = MINUTES_PER_DAY
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if not self.weekdays or not self.weekdays <= frozenset(range(7)):
            raise ValueError("weekdays must name at least one day, from Monday 0 to Sunday 6")
        if not 1 <= self.minutes_per_day <= 24 * 60:
            raise ValueError(f"minutes_per_day must be 1 to 1440, not {self.minutes_per_day}")


STANDARD = Calendar()


class Timeline:
    """Dates and working-time offsets of one calendar from one origin, each found in logarithmic time."""

    __slots__ = ("_before_weekday", "_calendar", "_holidays", "_known", "_origin", "_worked")

    def __init__(self, calendar: Calendar, origin: date) -> None:
        self._calendar = calendar
        self._holidays = sorted(
            holiday.toordinal() for holiday in calendar.holidays if holiday.weekday() in calendar.weekdays
        )
        self._worked = sorted(calendar.weekdays)
        marks = [int(weekday in calendar.weekdays) for weekday in range(7)]
        self._before_weekday = [0, *accumulate(marks)]
        self._known: dict[int, date] = {}
        self._origin = self._days_before(origin)

    def is_working(self, day: date) -> bool:
        """Tell whether `day` is worked."""
        return day.weekday() in self._calendar.weekdays and day not in self._calendar.holidays

    def working_day(self, number: int) -> date:
        """Return the working day `number` days after the first one at or after the origin; negative goes back.

        Raises ValueError for a day beyond the years 1 to 9999.
        """
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._nth(self._origin + number)
        return found

    def day_number(self, day: date) -> int:
        """Return how many working days lie between the origin and `day`, `day` itself not counted."""
        return self._days_before(day) - self._origin

    def offset(self, day: date) -> int:
        """Return the offset in minutes of the first working moment on or after `day`."""
        return self.day_number(day) * self._calendar.minutes_per_day

    def start_date(self, offset: int) -> date:
        """Return the day on which work that starts at `offset` begins."""
        return self.working_day(offset // self._calendar.minutes_per_day)

    def finish_date(self, start: int, finish: int) -> date:
        """Return the day on which work over [start, finish) ends; work of no length ends where it starts."""
        return self.working_day(max(finish - 1, start) // self._calendar.minutes_per_day)

    def _days_before(self, day: date) -> int:
        """Count the working days since Monday of the year 1, `day` itself not counted."""
        weeks, weekday = divmod(day.toordinal() - 1, 7)
        plain = weeks * len(self._worked) + self._before_weekday[weekday]
        return plain - bisect_left(self._holidays, day.toordinal())

    def _nth(self, number: int) -> date:
        skipped = 0
        while True:
            weeks, rest = divmod(number + skipped, len(self._worked))
            ordinal = weeks * 7 + self._worked[rest] + 1
            passed = bisect_right(self._holidays, ordinal)
            if passed == skipped:
                break
            skipped = passed
        try:
            return date.fromordinal(ordinal)
        except (ValueError, OverflowError):
            raise ValueError("the work ends outside the years 1 to 9999; check the estimates") from None


def add_working_days(start: date, days: int, calendar: Calendar = STANDARD) -> date:
    """Return the working day `days` after `start`; 0 gives `start` itself, or the first working day after it.

    Negative `days` go back: -1 is the last working day before `start`.
    """
    return Timeline(calendar, start).working_day(days)


def working_days(first: date, last: date, calendar: Calendar = STANDARD) -> int:
    """Return the number of working days from `first` to `last`, both included; 0 when `last` is earlier."""
    if last < first:
        return 0
    timeline = Timeline(calendar, first)
    return timeline.day_number(last) + timeline.is_working(last)
