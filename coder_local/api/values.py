"""Values that have one home: time, duration, money, texts.

All are plain `str` or small Structs on the wire and in the database, so nothing is converted on a hot path; the
functions here do the conversions where a plugin wants to compute.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

# `$(?!\n)` and `[0-9]`, in Python and in JSON Schema alike: `$` lets a newline pass, `\d` the digits of every script.
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MINUTE = _DAY + r"T[0-9]{2}:[0-9]{2}"
_INSTANT = _MINUTE + r"(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})$(?!\n)"
_DURATION = r"^P(?=[0-9T])([0-9]+W)?([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]{1,3})?S)?)?$(?!\n)"


def format_instant(moment: datetime) -> str:
    """Return a zoned datetime as UTC text with milliseconds, `2026-11-20T16:15:27.123Z`.

    Raises `ValueError` for a naive datetime: a time without a zone is never guessed.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is never guessed; give it tzinfo")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_instant(text: str) -> datetime:
    """Return the datetime (UTC) of an `Instant`."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _normal_instant(text: str) -> str:
    try:
        return format_instant(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a moment of the calendar") from error


def _normal_date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ValueError(f"{text!r} is not a day of the calendar") from error


Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$(?!\n)")]
"""Key of a record: UUIDv7 text made by the store; other texts are accepted from elsewhere."""

Title = Annotated[str, Meta(min_length=1, max_length=300)]
"""One line that names a thing, 1 to 300 characters."""

Markdown = Annotated[str, Meta(max_length=1_000_000, extra_json_schema={"contentMediaType": "text/markdown"})]
"""Text in CommonMark, at most 1,000,000 characters."""

Instant = Annotated[
    str,
    Meta(
        pattern=_INSTANT,
        extra_json_schema={"format": "date-time"},
        extra={"normalise": _normal_instant, "expected": "a moment with its zone, such as 2026-11-20T16:15:27Z"},
    ),
]
"""A moment: RFC 3339 with a zone; kept and answered in UTC with milliseconds and `Z`."""

LocalDate = Annotated[
    str,
    Meta(
        pattern=_DAY + r"$(?!\n)",
        extra_json_schema={"format": "date"},
        extra={"normalise": _normal_date, "expected": "a day, such as 2026-11-20"},
    ),
]
"""A day on the wall calendar, `2026-11-20`, without a zone."""

Duration = Annotated[
    str,
    Meta(
        pattern=_DURATION,
        extra_json_schema={"format": "duration"},
        extra={"expected": "an ISO 8601 duration, such as PT15M or P1DT2H"},
    ),
]
"""A length of time in ISO 8601, weeks to seconds: `PT15M`, `P1DT2H`. No months or years: they have no length."""

FilePath = Annotated[str, Meta(min_length=1, max_length=4096, extra_json_schema={"format": "path"})]
"""A file or folder of the daemon's machine, from the root on: the daemon does not know its caller's current folder.

The `coder-local` command makes it of `notes.md` and of `~/notes.md`; at every other door it is sent whole.
"""

Rank = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[0-9A-Za-z]+$(?!\n)")]
"""Fractional key of a list that a person can drag; see `coder_local.api.ranks`."""

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
"""ISO 4217 code."""

_ZERO_DIGITS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THREE_DIGITS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


class Money(msgspec.Struct, frozen=True):
    """An amount in the currency's minor unit: `Money(1050, "USD")` is 10.50 dollars, `Money(1050, "JPY")` 1050 yen."""

    minor: int
    currency: Currency

    @classmethod
    def of(cls, amount: Decimal | str, currency: str) -> Money:
        """Return the amount rounded half up to the currency's minor unit."""
        scaled = Decimal(amount).scaleb(currency_digits(currency))
        return cls(int(scaled.quantize(Decimal(1), rounding=ROUND_HALF_UP)), currency)

    def amount(self) -> Decimal:
        """Return the amount in major units, exactly."""
        return Decimal(self.minor).scaleb(-currency_digits(self.currency))


class ZonedTime(msgspec.Struct, frozen=True):
    """A time on the wall clock of a zone. It is resolved when read, because zone rules change."""

    wall: Annotated[str, Meta(pattern=_MINUTE + r"(:[0-9]{2})?$(?!\n)")]
    """Local date and time, `2026-11-20T09:30`."""
    zone: Annotated[str, Meta(min_length=1, max_length=64)]
    """IANA name, `Europe/Berlin`."""

    def resolve(self) -> datetime:
        """Return the moment. A time that the clocks skip is moved on by the gap; one that comes twice is the first.

        Raises `ValueError` for a zone that the system does not know.
        """
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - costs 5 ms, few need it

        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no time zone {self.zone!r}; use an IANA name such as Europe/Berlin") from error
        return datetime.fromisoformat(self.wall).replace(tzinfo=zone).astimezone(UTC)


def currency_digits(currency: str) -> int:
    """Return how many decimal places the currency has (ISO 4217): 0 for JPY, 2 for most, 3 for BHD."""
    return 0 if currency in _ZERO_DIGITS else 3 if currency in _THREE_DIGITS else 2


def parse_duration(text: str) -> timedelta:
    """Return the length of an ISO 8601 `Duration`; a day is 24 hours. Raises `ValueError` for other text."""
    return _length(text)


@functools.lru_cache(maxsize=256)  # settings and steps give the same few again and again
def _length(text: str) -> timedelta:
    match = re.match(_DURATION, text)
    if match is None:
        raise ValueError(f"{text!r} is no ISO 8601 duration; write for example PT15M or P1DT2H")
    weeks, days, _, hours, minutes, seconds, _ = match.groups(default="0_")
    try:
        return timedelta(
            weeks=float(weeks[:-1]),
            days=float(days[:-1]),
            hours=float(hours[:-1]),
            minutes=float(minutes[:-1]),
            seconds=float(seconds[:-1]),
        )
    except OverflowError as error:
        raise ValueError(f"{text!r} is longer than a million days") from error


def format_duration(length: timedelta) -> str:
    """Return the shortest ISO 8601 text of a length of time, to the millisecond. Raises `ValueError` below zero."""
    if length < timedelta(0):
        raise ValueError("a duration is not negative")
    minutes, seconds = divmod(round(length.total_seconds(), 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    days, hours = divmod(hours, 24)
    clock = "".join(
        f"{value:g}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (round(seconds, 3), "S")) if value
    )
    return "P" + (f"{days}D" if days else "") + (f"T{clock}" if clock else "" if days else "T0S")
