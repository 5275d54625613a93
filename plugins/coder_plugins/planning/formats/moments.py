"""Points in time as the formats write them; every function is exact or raises ValueError with the cure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ZONED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\[([^\[\]]+)\]", re.ASCII)


def instant(text: str) -> str:
    """Return an RFC 3339 time with any offset as UTC with milliseconds and `Z`; finer digits are cut."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("write it as RFC 3339, for example 2026-11-02T09:00:00Z")
    day, clock, fraction, offset = match.groups()
    if offset is None:
        raise ValueError("add the zone: Z, or an offset such as +01:00")
    milliseconds = (fraction or "").ljust(3, "0")[:3]
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{milliseconds}{offset.replace('z', 'Z')}")
        return in_utc(moment)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"name a day and a time that exist ({error})") from None


def in_utc(moment: datetime) -> str:
    """Return an aware datetime as UTC text with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_compact(text: str) -> str:
    """Return `20261102T090000Z` (Taskwarrior, iCalendar), or RFC 3339, as an instant."""
    match = _COMPACT.fullmatch(text)
    if match is None:
        return instant(text)
    year, month, day, hour, minute, second = match.groups()
    return instant(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")


def to_compact(moment: str) -> str:
    """Return an instant as `20261102T090000Z`; fractions of a second are cut."""
    return moment[:19].replace("-", "").replace(":", "") + "Z"


def is_date(moment: str) -> bool:
    """Tell whether a moment is a whole day."""
    return _DATE.fullmatch(moment) is not None


def zoned(moment: str) -> tuple[str, str] | None:
    """Return wall time and IANA zone of `2026-11-02T09:00:00[Europe/Berlin]`, or None for any other moment."""
    match = _ZONED.fullmatch(moment)
    return (match[1], match[2]) if match else None


def as_instant(moment: str) -> str | None:
    """Return the instant of any moment of `ForeignTask`, or None where it has none that can be told here.

    A day begins, and a bare wall time is read, in UTC.
    """
    with_zone = zoned(moment)
    try:
        if with_zone is not None:
            return _in_zone(*with_zone)
        if is_date(moment):
            return instant(f"{moment}T00:00:00Z")
        return instant(moment if moment.endswith("Z") else f"{moment}Z")
    except (ValueError, OverflowError, OSError, KeyError):
        return None  # an unknown zone must not stop an export: the moment goes beside the record as it is


def _in_zone(wall: str, zone: str) -> str:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - reading the zone tables is paid only by who needs a zone

    return in_utc(datetime.fromisoformat(wall).replace(tzinfo=ZoneInfo(zone)))
