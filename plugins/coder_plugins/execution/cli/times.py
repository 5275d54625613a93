"""Times as a person reads them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

NEVER = "--:--:--"


def seconds_of(instant: object) -> float | None:
    """Return an instant as seconds since 1970; None if there is none."""
    if not isinstance(instant, str):
        return None
    with suppress(ValueError):
        return datetime.fromisoformat(instant).timestamp()
    return None


def clock(instant: object) -> str:
    """Return the time of day of an instant in the local zone, to the second."""
    seconds = seconds_of(instant)
    return NEVER if seconds is None else clock_of(seconds)


def clock_of(seconds: float) -> str:
    """Return the time of day of seconds since 1970, in the local zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%H:%M:%S")


def length(seconds: float | None) -> str:
    """Return a time span in the units that say something: `14 ms`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2]) or "0 s"


def between(start: object, end: object) -> float | None:
    """Return the seconds between two instants; None if one of them is not there."""
    first, last = seconds_of(start), seconds_of(end)
    return None if first is None or last is None else last - first


def size(count: int) -> str:
    """Return a number of bytes: `812 bytes`, `1.5 KiB`, `20 MiB`."""
    if count < 1024:
        return f"{count} bytes"
    amount, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if amount >= 1024:
            amount, unit = amount / 1024, larger
    return f"{amount:.3g} {unit}"
