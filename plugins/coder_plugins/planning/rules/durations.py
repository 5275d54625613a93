"""Working time in words: ISO 8601 durations and the short forms people type, to and from whole minutes.

A day means a working day (8 h by default) and a week a working week (5 days by default), so `P2D` is 960 minutes.
Months and years have no fixed working time and are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

LONGEST = 100 * 366 * 24 * 60
"""The longest duration in minutes; a longer one is a slip of the finger, and its end date might not exist."""

# Texts, compiled when first used: a start needs neither of them.
_ISO = (
    r"P(?:(?P<w>\d{1,9}(?:[.,]\d{1,6})?)W)?(?:(?P<d>\d{1,9}(?:[.,]\d{1,6})?)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d{1,9}(?:[.,]\d{1,6})?)H)?(?:(?P<m>\d{1,9}(?:[.,]\d{1,6})?)M)?"
    r"(?:(?P<s>\d{1,9}(?:[.,]\d{1,6})?)S)?)?"
)
_HUMAN = r"(?P<count>\d{1,9}(?:[.,]\d{1,6})?)\s*(?P<unit>[a-z]+)\s*"
_WORDS = {
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
}


class Work(msgspec.Struct, frozen=True):
    """How long a working day and a working week are."""

    minutes_per_day: int = 480
    days_per_week: int = 5

    def seconds(self, letter: str) -> int:
        """Return the seconds in one of w, d, h, m or s."""
        day = self.minutes_per_day * 60
        return {"w": day * self.days_per_week, "d": day, "h": 3600, "m": 60, "s": 1}[letter]


STANDARD = Work()


def parse_iso(text: str, work: Work = STANDARD) -> int:
    """Return the whole minutes of an ISO 8601 duration such as `PT15M`, `P2D` or `P1W`.

    Raises ValueError for anything else, for parts of a minute, and over `LONGEST`.
    """
    found = re.fullmatch(_ISO, text, re.ASCII)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text[:40]!r} is not an ISO 8601 duration of weeks, days, hours and minutes, like PT1H30M")
    return _whole(((part, letter) for letter, part in found.groupdict().items() if part), text, work)


def parse_human(text: str, work: Work = STANDARD) -> int:
    """Return the whole minutes of a short form such as `2h`, `1d4h`, `90m` or `1.5 hours`.

    Each unit at most once, greatest first. Raises ValueError as `parse_iso` does.
    """
    folded = text.strip().casefold()
    parts: list[tuple[str, str]] = []
    at = 0
    human = re.compile(_HUMAN, re.ASCII)
    while found := human.match(folded, at):
        at = found.end()
        parts.append((found["count"], _WORDS.get(found["unit"], "")))
    letters = [letter for _, letter in parts]
    order = ["wdhm".find(letter) if letter else -1 for letter in letters]
    if not parts or at != len(folded) or "" in letters or order != sorted(set(order)):
        raise ValueError(f"{text[:40]!r} is not a duration; write it like 90m, 2h, 1d4h or 1w")
    return _whole(parts, text, work)


def parse(text: str, work: Work = STANDARD) -> int:
    """Return the whole minutes of either form; what begins with P is ISO 8601."""
    return parse_iso(text, work) if text[:1] == "P" else parse_human(text, work)


def format_iso(minutes: int, work: Work = STANDARD) -> str:
    """Return the ISO 8601 text of a working time in whole days, hours and minutes; 0 is `PT0M`."""
    days, hours, rest = _parts(minutes, work)
    time = (f"{hours}H" if hours else "") + (f"{rest}M" if rest or not (days or hours) else "")
    return "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "")


def format_human(minutes: int, work: Work = STANDARD) -> str:
    """Return the working time as people write it, like `1d 4h` or `3h 20m`; 0 is `0m`."""
    days, hours, rest = _parts(minutes, work)
    told = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (rest, "m")) if count]
    return " ".join(told) or "0m"


def _parts(minutes: int, work: Work) -> tuple[int, int, int]:
    if minutes < 0:
        raise ValueError(f"a duration cannot be negative: {minutes} minutes")
    days, rest = divmod(minutes, work.minutes_per_day)
    return days, *divmod(rest, 60)


def _whole(parts: Iterable[tuple[str, str]], text: str, work: Work) -> int:
    micros = 0  # counted in millionths of a second: a count has at most six decimals
    for count, letter in parts:
        whole, _, part = count.replace(",", ".").partition(".")
        micros += int(whole + part.ljust(6, "0")) * work.seconds(letter)
    minutes, rest = divmod(micros, 60_000_000)
    if rest:
        raise ValueError(f"{text[:40]!r} is not a whole number of minutes; round it to minutes")
    if minutes > LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than 100 years; check the unit")
    return minutes
