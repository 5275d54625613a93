"""Values: money, lengths of time, moments, wall-clock times."""

# ruff: noqa: DTZ001 - hypothesis takes bounds without a zone

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.api import (
    Currency,
    Duration,
    Id,
    Instant,
    LocalDate,
    Money,
    Rank,
    Title,
    ZonedTime,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
)
from coder_local.api.values import currency_digits

LENGTHS = st.timedeltas(timedelta(0), timedelta(days=100_000)).map(
    lambda length: timedelta(milliseconds=length // timedelta(milliseconds=1))
)
ZONES = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-11, minutes=-30))]
)
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "BHD", "KWD", "CLP"])


@given(LENGTHS)
def test_a_length_of_time_comes_back_from_its_text(length: timedelta) -> None:
    text = format_duration(length)
    assert parse_duration(text) == length
    assert msgspec.convert(text, Duration) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT15M", 900),
        ("P1DT2H", 93_600),
        ("P2W", 1_209_600),
        ("PT0S", 0),
        ("PT1.5S", 1.5),
        ("P1W2DT3H4M5.025S", 788_645.025),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1Y", "P1M", "PT1.5H", "-PT1H", "pt1h", "PT1H\n", " PT1H", "1 hour", "PT1H30", "P\u0661D"]
)
def test_what_is_no_duration_is_refused_as_a_field_and_as_a_text(text: str) -> None:
    with pytest.raises(ValueError, match="no ISO 8601 duration"):
        parse_duration(text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Duration)


@given(st.text("P0123456789WDTHMS.", max_size=12))
def test_a_text_is_a_duration_to_the_field_exactly_if_it_can_be_read(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, Duration)
    else:
        assert msgspec.convert(text, Duration) == text


def test_a_length_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a million days"):
        parse_duration("P" + "9" * 400 + "W")


def test_there_is_no_negative_length() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_duration(timedelta(seconds=-1))


@given(MOMENTS)
def test_a_moment_comes_back_to_the_millisecond_and_in_utc(moment: datetime) -> None:
    text = format_instant(moment)
    back = parse_instant(text)
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
    assert back.utcoffset() == timedelta(0)
    assert text.endswith("Z")
    assert msgspec.convert(text, Instant) == text


@given(MOMENTS, MOMENTS)
def test_moments_sort_as_texts(one: datetime, other: datetime) -> None:
    first, second = format_instant(one), format_instant(other)
    assert (first < second) == (parse_instant(first) < parse_instant(second))


def test_a_moment_without_a_zone_is_never_guessed() -> None:
    with pytest.raises(ValueError, match="never guessed"):
        format_instant(datetime(2026, 11, 20))


@given(CURRENCIES, st.integers(-(10**15), 10**15))
def test_an_amount_of_money_comes_back_exactly(currency: str, minor: int) -> None:
    money = Money(minor, currency)
    assert Money.of(money.amount(), currency) == money
    assert money.amount() * 10 ** currency_digits(currency) == minor
    assert msgspec.json.decode(msgspec.json.encode(money), type=Money) == money


@given(CURRENCIES, st.decimals(-(10**9), 10**9, places=5))
def test_money_is_rounded_to_the_nearest_minor_unit(currency: str, amount: Decimal) -> None:
    rounded = Money.of(amount, currency)
    assert abs(rounded.amount() - amount) <= Decimal("0.5").scaleb(-currency_digits(currency))


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("10.50", "USD", 1050),
        ("1050", "JPY", 1050),
        ("1.0005", "BHD", 1001),
        ("0.005", "EUR", 1),
        ("-0.005", "EUR", -1),
    ],
)
def test_money_is_made_of_major_units(amount: str, currency: str, minor: int) -> None:
    assert Money.of(amount, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("wall", "zone", "utc"),
    [
        ("2026-11-20T09:30", "Europe/Berlin", "2026-11-20T08:30:00.000Z"),
        ("2026-07-20T09:30:15", "Europe/Berlin", "2026-07-20T07:30:15.000Z"),
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30:00.000Z"),  # skipped: 03:30 summer time
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00.000Z"),  # comes twice: the first
        ("2026-11-20T09:30", "Asia/Kathmandu", "2026-11-20T03:45:00.000Z"),
    ],
)
def test_a_time_on_the_wall_is_resolved_in_its_zone(wall: str, zone: str, utc: str) -> None:
    assert format_instant(ZonedTime(wall, zone).resolve()) == utc


@given(
    st.datetimes(datetime(1980, 1, 1), datetime(2037, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
)
def test_a_time_that_the_clocks_do_not_skip_is_shown_as_written(moment: datetime, zone: str) -> None:
    wall = moment.replace(microsecond=0)
    resolved = ZonedTime(wall.isoformat(timespec="seconds"), zone).resolve()
    shown = resolved.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown == wall or shown - wall == timedelta(hours=1)


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../etc/passwd", ""])
def test_an_unknown_zone_is_refused_with_the_cure(zone: str) -> None:
    with pytest.raises(ValueError, match="Europe/Berlin"):
        ZonedTime("2026-11-20T09:30", zone).resolve()


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("a b", Id), ("", Id), ("a\n", Id), ("x" * 65, Id), ("../a", Id),
        ("", Title), ("x" * 301, Title),
        ("usd", Currency), ("USD\n", Currency), ("DOLLAR", Currency),
        ("a-b", Rank), ("", Rank), ("a\n", Rank),
        ("2026-11-20", Instant), ("2026-11-20T09:30", Instant), ("2026-11-20T09:30Z\n", Instant),
        ("20.11.2026", LocalDate), ("2026-11-20\n", LocalDate),
    ],
)  # fmt: skip
def test_a_text_that_does_not_fit_its_type_is_refused(text: str, type_: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, type_)


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_every_day_is_a_local_date(day: date) -> None:
    assert msgspec.convert(day.isoformat(), LocalDate) == day.isoformat()
