import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_plugins.planning.rules.durations import (
    LONGEST,
    Work,
    format_human,
    format_iso,
    parse,
    parse_human,
    parse_iso,
)
from coder_plugins.planning.rules.split import Estimate, shares, split


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("PT15M", 15),
        ("P2D", 960),
        ("P1W", 2400),
        ("P1DT4H30M", 750),
        ("PT1.5H", 90),
        ("PT0,5H", 30),
        ("PT120S", 2),
        ("PT0M", 0),
    ],
)
def test_iso_durations_are_working_time(text, minutes):
    assert parse_iso(text) == parse(text) == minutes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1Y",
        "P1M",
        "P1DT",
        "15M",
        "PT15",
        "-PT1H",
        "PT30S",
        "PT0.01M",
        "P999999999D",
        "pt1h",
        "PT\uff11H",
        "PT1M2H",
    ],
)
def test_what_is_not_working_time_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|minutes|years"):
        parse_iso(text)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("2h", 120),
        ("1d4h", 720),
        ("90m", 90),
        ("1.5 hours", 90),
        ("1w", 2400),
        ("3h 20m", 200),
        (" 2 Days ", 960),
        ("0m", 0),
    ],
)
def test_short_forms(text, minutes):
    assert parse_human(text) == parse(text) == minutes


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "2h3h", "2m1h", "1h,", "0.3m", "9999999w", "-2h", "two hours"])
def test_odd_short_forms_are_refused(text):
    with pytest.raises(ValueError, match=r"duration|minutes|years"):
        parse_human(text)


def test_a_shorter_day_changes_what_a_day_means():
    part_time = Work(minutes_per_day=360, days_per_week=4)
    assert (parse_iso("P1W", part_time), parse_human("2d", part_time)) == (1440, 720)
    assert format_iso(400, part_time) == "P1DT40M"


def test_forms_are_canonical():
    assert [format_iso(minutes) for minutes in (0, 15, 90, 480, 2400)] == ["PT0M", "PT15M", "PT1H30M", "P1D", "P5D"]
    assert [format_human(minutes) for minutes in (0, 200, 720)] == ["0m", "3h 20m", "1d 4h"]
    with pytest.raises(ValueError, match="negative"):
        format_iso(-1)


@settings(deadline=None)
@given(st.integers(0, LONGEST))
def test_both_forms_come_back_as_the_same_minutes(minutes):
    assert parse_iso(format_iso(minutes)) == minutes
    assert parse_human(format_human(minutes)) == minutes


def test_ten_hours_and_three_items_divide_into_three_parts():
    parts = split(["one", "two", "three"], Estimate(600, 600, 600), 3)
    assert [part.items for part in parts] == [["one"], ["two"], ["three"]]
    assert [format_human(part.estimate.likely) for part in parts] == ["3h 20m"] * 3
    assert [part.estimate for part in split([], None, 2)] == [None, None]


def test_remainders_go_to_the_first_parts():
    assert shares(10, 4) == [3, 3, 2, 2]
    assert [part.items for part in split([1, 2, 3, 4, 5], None, 3)] == [[1, 2], [3, 4], [5]]
    for total, parts in ((5, 0), (-1, 2)):
        with pytest.raises(ValueError, match=r"must|at least"):
            shares(total, parts)


@settings(deadline=None)
@given(st.lists(st.integers()), st.lists(st.integers(0, 10_000), min_size=3, max_size=3), st.integers(1, 30))
def test_parts_add_up_exactly_and_stay_in_order(items, figures, count):
    low, likely, high = sorted(figures)
    parts = split(items, Estimate(low, likely, high), count)
    assert [item for part in parts for item in part.items] == items
    assert sum(part.estimate.low for part in parts) == low
    assert sum(part.estimate.likely for part in parts) == likely
    assert sum(part.estimate.high for part in parts) == high
    assert all(part.estimate.low <= part.estimate.likely <= part.estimate.high for part in parts)
