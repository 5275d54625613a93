"""The text of an iCalendar RRULE (RFC 5545, 3.3.10), as far as it says days: read strictly, walked within bounds.

python-dateutil does the counting. What it would walk for ever, or for minutes, is refused before: frequencies under a
day, an interval of 0, unknown parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Literal

Unit = Literal["day", "week", "month", "year"]

FREQUENCIES: dict[str, Unit] = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
WALK = 10_000
"""The most dates of one walk: 27 years of a daily rule, walked in some 50 ms."""
LONGEST_TEXT = 500
_LONGEST_INTERVAL = 1_000
_TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")
_NAMES = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY",
          "BYSETPOS", *_TIMES)  # fmt: skip


def parts(text: str) -> dict[str, str]:
    """Return the parts of a rule by name, those for the time of the day left out. Raises ValueError with the cure."""
    body = text.strip().upper().removeprefix("RRULE:")
    if len(body) > LONGEST_TEXT:
        raise ValueError(f"RRULE: {len(body)} characters are too many; a rule has at most {LONGEST_TEXT}")
    found: dict[str, str] = {}
    for part in body.split(";"):
        name, _, value = part.partition("=")
        if name not in _NAMES or name in found or not value:
            raise ValueError(f"RRULE {body[:60]!r}: {part[:40]!r} is no part of it; parts are {', '.join(_NAMES)}")
        found[name] = value
    if found.get("FREQ") not in FREQUENCIES:
        raise ValueError(f"RRULE {body[:60]!r}: FREQ must be one of {', '.join(FREQUENCIES)}; due dates are days")
    for name in _TIMES:
        if "," in found.pop(name, ""):
            raise ValueError(f"RRULE {body[:60]!r}: {name} makes it come more often than daily; due dates are days")
    _number(found, "INTERVAL", _LONGEST_INTERVAL)
    _number(found, "COUNT", WALK)
    return found


def _number(found: dict[str, str], name: str, most: int) -> None:
    text = found.get(name, "1")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ValueError(f"RRULE: {name} is 1 to {most}, not {text[:20]}")


def until(found: dict[str, str]) -> date | None:
    """Return the day of UNTIL, or None without one. Raises ValueError when it is no day."""
    if "UNTIL" not in found:
        return None
    try:
        return date.fromisoformat(found["UNTIL"][:8])
    except ValueError:
        raise ValueError(f"RRULE: UNTIL={found['UNTIL']:.20} is not a date like 20261201") from None


def dates(text: str, start: date, *, after: date | None, last: date | None, count: int | None) -> Iterator[date]:
    """Yield the days of a rule that begins at `start`, ascending: those after `after`, none after `last`.

    `count` limits the days from `start` on, as COUNT does. Raises ValueError when the rule cannot be read, and when
    more than `WALK` days are walked.
    """
    # Only rules from calendars need it, and importing it costs more than the rest of this package.
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]  # noqa: PLC0415

    found = parts(text)
    counts = [each for each in (count, int(found.pop("COUNT", "0"))) if each]
    ends = min(until(found) or date.max, last or date.max)
    if after is not None and not counts:
        found, start = _later(found, start, after)
    # A rule that never comes true, such as 30 February, is searched for up to the year 9999, for seconds. The calendar
    # repeats itself every 400 years to the day, so the search is made where only some 100 to 500 years are left.
    shift = 9499 + (start.year - 9499) % 400 - start.year
    ends = ends.replace(year=min(ends.year + shift, date.max.year))
    body = ";".join(f"{name}={value}" for name, value in (found | {"UNTIL": f"{ends:%Y%m%d}T235959"}).items())
    first = datetime.combine(start.replace(year=start.year + shift), time())
    try:
        moments: Iterator[datetime] = iter(rrulestr(body, dtstart=first))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"RRULE {text!r:.80} cannot be read: {error}") from None
    for walked, moment in enumerate(islice(moments, min(counts, default=None))):
        if walked >= WALK:
            raise ValueError(f"RRULE {text!r:.80} comes over {WALK} times between {after or start} and now")
        day = moment.date().replace(year=moment.year - shift)
        if after is None or day > after:
            yield day


def _later(found: dict[str, str], start: date, after: date) -> tuple[dict[str, str], date]:
    """Return the same rule from a later start, at most some intervals before `after`, so that old rules are not walked.

    What a rule takes from its start when it does not say it (the weekday, the day, the month) it says afterwards.
    """
    interval, unit = int(found.get("INTERVAL", "1")), FREQUENCIES[found["FREQ"]]
    if unit in ("day", "week"):
        step = interval * (7 if unit == "week" else 1)
        steps = max(0, (after - start).days // step - 1)
        return found, start + timedelta(days=steps * step)
    step = interval * (12 if unit == "year" else 1)
    months = (after.year - start.year) * 12 + after.month - start.month
    steps = max(0, months // step - 1)
    if not steps:
        return found, start
    if not found.keys() & {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"}:
        found = {"BYMONTH": str(start.month)} | found if unit == "year" else dict(found)
        found["BYMONTHDAY"] = str(start.day)
    years, month = divmod(start.month - 1 + steps * step, 12)
    return found, date(start.year + years, month + 1, 1)
