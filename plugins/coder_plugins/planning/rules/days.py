"""Steps on the calendar that a month's length bends."""

from __future__ import annotations

from datetime import date, timedelta


def plus(day: date, count: int, unit: str) -> date | None:
    """Return `day` and so many units later, told by their first letter (d, w, m, y); None past the year 9999.

    A month too short for the day has its last day instead.
    """
    try:
        if unit[0] in "dw":
            return day + timedelta(days=count * (7 if unit[0] == "w" else 1))
        years, month = divmod(day.month - 1 + count * (12 if unit[0] == "y" else 1), 12)
        first = date(day.year + years, month + 1, 1)
        return first.replace(day=min(day.day, _length(first)))
    except (OverflowError, ValueError):
        return None


def _length(first: date) -> int:
    """Return the days of the month that begins so; importing `calendar` for it costs a start half a millisecond."""
    return 31 if first.month == 12 else (first.replace(month=first.month + 1) - first).days
