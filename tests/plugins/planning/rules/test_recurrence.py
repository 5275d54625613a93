import time
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_plugins.planning.rules.recurrence import (
    Endless,
    Instance,
    Recurrence,
    from_rrule,
    instances,
    next_due,
    refuse_endless,
    roll,
)

MONDAY = date(2026, 11, 2)
AFTER_DONE = Recurrence("after_done", 2, "week")
FIXED = Recurrence("fixed", 2, "week", MONDAY)
DAY = timedelta(days=1)


def test_after_done_counts_from_the_finish_day():
    assert next_due(AFTER_DONE, MONDAY, date(2026, 11, 4)) == date(2026, 11, 18)
    assert roll(AFTER_DONE, MONDAY, date(2027, 11, 4)) == Instance(MONDAY)


def test_fixed_keeps_to_its_grid_whatever_the_finish_day():
    for finished in (date(2026, 10, 20), MONDAY, date(2026, 11, 4), date(2026, 11, 25), date(2027, 5, 1)):
        assert next_due(FIXED, MONDAY, finished) == date(2026, 11, 16)
    assert next_due(FIXED, None, MONDAY) == MONDAY


def test_three_missed_instances_make_one_open_task():
    found = roll(FIXED, MONDAY, date(2026, 12, 14))
    assert found == Instance(date(2026, 12, 14), 3)
    assert found.text == "3 missed"
    assert roll(FIXED, MONDAY, date(2026, 11, 15)) == Instance(MONDAY, 0)
    assert roll(FIXED, MONDAY, MONDAY).text == ""


def test_short_months_have_their_last_day_and_do_not_drift():
    monthly = Recurrence("fixed", 1, "month", date(2027, 1, 31))
    assert instances(monthly, date(2027, 1, 1), date(2027, 4, 30)) == [
        date(2027, 1, 31), date(2027, 2, 28), date(2027, 3, 31), date(2027, 4, 30),
    ]  # fmt: skip
    assert next_due(monthly, date(2027, 2, 28), MONDAY) == date(2027, 3, 31)
    leap = Recurrence("fixed", 1, "year", date(2028, 2, 29))
    assert next_due(leap, date(2028, 2, 29), MONDAY) == date(2029, 2, 28)
    assert next_due(Recurrence("after_done", 1, "month"), None, date(2026, 12, 31)) == date(2027, 1, 31)


def test_a_rule_ends_at_until_count_and_the_last_year():
    assert next_due(Recurrence("fixed", 2, "week", MONDAY, until=date(2026, 11, 15)), MONDAY, MONDAY) is None
    assert next_due(Recurrence("fixed", 2, "week", MONDAY, count=1), MONDAY, MONDAY) is None
    assert next_due(Recurrence("fixed", 2, "week", MONDAY, count=2), MONDAY, MONDAY) == date(2026, 11, 16)
    assert next_due(Recurrence("after_done", 1, "day", until=MONDAY), None, MONDAY) is None
    assert next_due(Recurrence("after_done", 1000, "year"), None, date(9000, 1, 1)) is None


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": "fixed"}, "start"), ({"mode": "after_done", "every": 0}, "every"),
        ({"mode": "fixed", "start": MONDAY, "count": 0}, "count"), ({"mode": "after_done", "count": 2}, "neither"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        Recurrence(**fields)


def test_a_plain_rrule_becomes_fields():
    assert from_rrule("RRULE:FREQ=WEEKLY;INTERVAL=2", MONDAY) == FIXED
    ended = from_rrule("FREQ=DAILY;UNTIL=20261105T120000Z", MONDAY)
    assert ended == Recurrence("fixed", 1, "day", MONDAY, until=date(2026, 11, 5))
    assert from_rrule("FREQ=YEARLY;COUNT=3", MONDAY).count == 3


def test_any_other_rrule_is_read_as_calendars_do():
    first_mondays = from_rrule("FREQ=MONTHLY;BYDAY=1MO;COUNT=3", MONDAY)
    assert first_mondays.rrule == "FREQ=MONTHLY;BYDAY=1MO;COUNT=3"
    assert instances(first_mondays, MONDAY, date(2030, 1, 1)) == [MONDAY, date(2026, 12, 7), date(2027, 1, 4)]
    assert next_due(first_mondays, MONDAY, MONDAY) == date(2026, 12, 7)
    assert next_due(first_mondays, date(2027, 1, 4), MONDAY) is None
    workdays = from_rrule("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", MONDAY)
    assert roll(workdays, MONDAY, date(2026, 11, 9)) == Instance(date(2026, 11, 9), 5)
    # RFC 5545 has no 31 April, where plain fields would take the 30th.
    skipping = from_rrule("FREQ=MONTHLY", date(2027, 3, 31))
    assert next_due(skipping, date(2027, 3, 31), MONDAY) == date(2027, 5, 31)
    old = from_rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", date(1896, 2, 29))
    assert instances(old, date(1896, 1, 1), date(1904, 12, 31)) == [date(1896, 2, 29), date(1904, 2, 29)]


@pytest.mark.parametrize(
    "text",
    ["", "FREQ=SECONDLY", "FREQ=HOURLY;COUNT=2", "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;COUNT=x", "FREQ=DAILY;UNTIL=2026",
     "FREQ=DAILY;UNTIL=20260230", "FREQ=DAILY;BYDAY=XX", "FREQ=DAILY;NONSENSE=1", "FREQ=YEARLY;BYEASTER=1",
     "FREQ=DAILY;BYDAY=MO;INTERVAL=0", "FREQ=DAILY;BYHOUR=8,20", "FREQ=DAILY;BYSECOND=" + ",".join(map(str, range(60))),
     "FREQ=DAILY;COUNT=10001", "FREQ=DAILY;FREQ=SECONDLY", "FREQ=DAILY;BYDAY=" + "MO," * 200 + "TU"],
)  # fmt: skip
def test_a_malformed_rrule_is_refused(text):
    with pytest.raises(ValueError, match=r"RRULE|every|count"):
        from_rrule(text, MONDAY)


def test_the_time_of_the_day_is_passed_over():
    mornings = from_rrule("FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=30", MONDAY)
    assert next_due(mornings, MONDAY, MONDAY) == MONDAY + 7 * DAY


def test_a_walk_is_bounded_and_begins_where_it_is_asked():
    workdays = Recurrence("fixed", start=date(1, 1, 1), rrule="FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR")
    with pytest.raises(ValueError, match="over 10000 times"):
        roll(workdays, date(1, 1, 1), MONDAY)
    begun = time.process_time()
    assert next_due(workdays, MONDAY, MONDAY) == MONDAY + DAY
    every_day = Recurrence("fixed", 1, "day", date(1, 1, 1))
    assert roll(every_day, date(1, 1, 1), MONDAY) == Instance(MONDAY, (MONDAY - date(1, 1, 1)).days)
    assert time.process_time() - begun < 1


PARTS = st.tuples(
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]), st.integers(1, 7),
    st.sampled_from(
        ["", ";BYDAY=MO,TH", ";BYMONTH=2,7", ";BYMONTHDAY=29,-1", ";BYMONTH=3;BYDAY=SU", ";WKST=SU;BYDAY=SU"]
    ),
)  # fmt: skip


@settings(deadline=None)
@given(PARTS, st.dates(date(1980, 1, 1), date(2030, 1, 1)), st.integers(0, 5_900))  # with 4,000 more, a day under WALK
def test_a_walk_that_begins_later_finds_the_same_dates(parts, start, days):
    frequency, interval, rest = parts
    rule = Recurrence("fixed", start=start, rrule=f"FREQ={frequency};INTERVAL={interval}{rest}")
    after = start + days * DAY
    whole = instances(rule, start, after + 4_000 * DAY, limit=100_000)
    later = instances(rule, after + DAY, after + 4_000 * DAY, limit=100_000)
    assert later == [day for day in whole if day > after]


def test_a_rule_that_never_comes_true_ends_soon():
    begun = time.process_time()
    never = from_rrule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", MONDAY)
    assert next_due(never, MONDAY, MONDAY) is None
    assert time.process_time() - begun < 4


def test_an_endless_rule_is_refused_over_1_000_instances():
    daily = from_rrule("FREQ=DAILY", MONDAY)
    refuse_endless(daily, MONDAY + 999 * DAY)
    with pytest.raises(Endless, match="1000"):
        refuse_endless(daily, MONDAY + 1000 * DAY)
    with pytest.raises(Endless):
        refuse_endless(from_rrule("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", MONDAY), date(2040, 1, 1))
    for ended in ("FREQ=DAILY;COUNT=5000", "FREQ=WEEKLY;BYDAY=MO,TU;UNTIL=20990101", "FREQ=YEARLY"):
        refuse_endless(from_rrule(ended, MONDAY), date(2100, 1, 1))
    refuse_endless(Recurrence("after_done", 1, "day"), date(2100, 1, 1))


def test_after_done_has_no_dates_in_advance():
    with pytest.raises(ValueError, match="advance"):
        instances(AFTER_DONE, MONDAY, MONDAY)


RULES = st.builds(
    Recurrence, st.just("fixed"), st.integers(1, 40), st.sampled_from(["day", "week", "month", "year"]),
    st.dates(date(1990, 1, 1), date(2040, 1, 1)),
)  # fmt: skip


@settings(deadline=None)
@given(RULES, st.dates(date(1990, 1, 1), date(2060, 1, 1)))
def test_the_next_date_is_the_first_of_the_grid_after_the_last(rule, due):
    whole = instances(rule, rule.start, date(2200, 1, 1), limit=100_000)
    assert whole == sorted(set(whole))
    following = next_due(rule, due, due)
    assert following == next(day for day in [*whole, following] if day > due)
    assert roll(rule, whole[0], whole[0] + DAY * 365).missed == sum(whole[0] < d <= whole[0] + DAY * 365 for d in whole)
