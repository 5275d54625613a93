import random
import time
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_plugins.planning.rules import schedule as schedules
from coder_plugins.planning.rules.calendar import STANDARD, Calendar, Timeline, add_working_days, working_days
from coder_plugins.planning.rules.errors import Cyclic, TooLarge
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.schedule import Activity, Driver, Hold, chain, impact, schedule

DAY = 480
MONDAY = date(2026, 11, 2)
DAYS = {"a": 3, "b": 2, "c": 4, "d": 1, "e": 2}
LINKS = [Link("blocks", *pair) for pair in ("ab", "bc", "ad", "dc", "de")]


def activities(**changes):
    return [changes.get(id, Activity(id, days * DAY)) for id, days in DAYS.items()]


def days(slot):
    return slot.es / DAY, slot.ef / DAY


def test_early_dates_slack_and_critical_path():
    found = schedule(activities(), LINKS, MONDAY)
    assert {id: days(slot) for id, slot in found.slots.items()} == {
        "a": (0, 3), "b": (3, 5), "c": (5, 9), "d": (3, 4), "e": (4, 6),
    }  # fmt: skip
    assert {id: slot.slack / DAY for id, slot in found.slots.items()} == {"a": 0, "b": 0, "c": 0, "d": 1, "e": 3}
    assert found.critical == ["a", "b", "c"]
    assert found.finish == date(2026, 11, 12)
    assert (found.slots["d"].ls / DAY, found.slots["d"].lf / DAY) == (4, 5)
    assert found.assumptions == []


def test_a_holiday_moves_only_what_it_falls_in():
    plain = schedule(activities(), LINKS, MONDAY)
    found = schedule(activities(), LINKS, MONDAY, Calendar(holidays=frozenset({date(2026, 11, 11)})))
    assert found.finish == date(2026, 11, 13)
    assert [move.id for move in impact(plain, found)] == ["c"]
    assert impact(plain, plain) == []


def test_the_chain_tells_what_drives_a_date():
    found = schedule(activities(b=Activity("b", 2 * DAY, hold=Hold("licence", date(2026, 11, 10)))), LINKS, MONDAY)
    assert chain(found, "c") == [("c", Driver("task", task="b")), ("b", Driver("hold", until=date(2026, 11, 10)))]
    assert found.slots["b"].start == date(2026, 11, 10)
    assert found.critical == ["b", "c"]
    assert chain(found, "e")[-1] == ("a", Driver("start"))


def test_a_hold_without_an_end_is_an_assumption():
    held = Activity("b", 2 * DAY, hold=Hold("waiting for licence"))
    found = schedule(activities(b=held), LINKS, MONDAY)
    assert found.finish == date(2026, 11, 12)
    assert [(item.task, item.kind) for item in found.assumptions] == [("b", "hold")]
    assert "waiting for licence" in found.assumptions[0].text


def test_wait_until_is_a_start_no_earlier_than():
    found = schedule(activities(d=Activity("d", DAY, wait_until=date(2026, 11, 14))), LINKS, MONDAY)
    assert found.slots["d"].start == date(2026, 11, 16)
    assert found.slots["d"].driver == Driver("wait_until", until=date(2026, 11, 14))
    early = schedule(activities(d=Activity("d", DAY, wait_until=date(2026, 10, 1))), LINKS, MONDAY)
    assert early == schedule(activities(), LINKS, MONDAY)


def test_done_work_is_pinned_to_facts():
    found = schedule(activities(a=Activity("a", 3 * DAY, done=date(2026, 11, 3))), LINKS, MONDAY)
    assert (found.slots["a"].start, found.slots["a"].finish, found.slots["a"].done) == (
        date(2026, 11, 3), date(2026, 11, 3), True,
    )  # fmt: skip
    assert days(found.slots["b"]) == (1, 3)
    assert found.critical == ["b", "c"]
    before = schedule(activities(a=Activity("a", 3 * DAY, done=date(2026, 10, 1))), LINKS, MONDAY)
    assert days(before.slots["b"]) == (0, 2)
    assert before.slots["a"].finish == date(2026, 10, 1)


def test_nothing_left_or_nothing_at_all():
    assert schedule([], [], MONDAY).finish is None
    done = schedule([Activity("a", done=date(2026, 11, 4))], [], MONDAY)
    assert (done.finish, done.critical) == (date(2026, 11, 4), [])


def test_a_summary_spans_its_children_and_passes_blocking_on():
    tasks = [
        Activity("x", DAY),
        Activity("p", 99 * DAY),
        Activity("c", DAY),
        Activity("d", 2 * DAY),
        Activity("y", DAY),
    ]
    ties = [Link("blocks", "x", "p"), Link("parent", "p", "c"), Link("parent", "p", "d"), Link("blocks", "p", "y")]
    found = schedule(tasks, ties, MONDAY)
    assert days(found.slots["p"]) == (1, 3)
    assert (found.slots["p"].summary, found.slots["p"].last) == (True, "d")
    assert found.slots["c"].driver == Driver("task", task="x", via="p")
    assert days(found.slots["y"]) == (3, 4)
    assert found.slots["c"].slack == DAY
    assert found.critical == ["x", "d", "y"]
    assert [id for id, _ in chain(found, "y")] == ["y", "d", "x"]


def test_what_is_not_estimated_is_assumed():
    found = schedule([Activity("a"), Activity("b", 0)], [Link("blocks", "a", "b")], MONDAY)
    assert found.slots["a"].ef == DAY
    assert [(item.task, item.kind) for item in found.assumptions] == [("a", "estimate")]
    assert found.slots["b"].start == found.slots["b"].finish == MONDAY
    assert schedule([Activity("a")], [], MONDAY, default_minutes=60).slots["a"].ef == 60
    with pytest.raises(ValueError, match="minutes"):
        schedule([Activity("a", -1)], [], MONDAY)


def test_rings_and_oversize_are_refused(monkeypatch):
    with pytest.raises(Cyclic) as ring:
        schedule(activities(), [*LINKS, Link("blocks", "c", "a")], MONDAY)
    assert ring.value.cycle[0] == ring.value.cycle[-1]
    assert set(ring.value.cycle) <= set("abcd")
    with pytest.raises(TooLarge) as large:
        schedule(activities(), [Link("blocks", "a", "b")] * (schedules.LIMIT + 1), MONDAY)
    assert (large.value.count, large.value.limit) == (20_001, 20_000)


def test_impact_names_new_and_gone_tasks():
    before = schedule(activities(), LINKS, MONDAY)
    after = schedule([*activities()[:4], Activity("f", DAY)], LINKS, MONDAY)
    moves = {move.id: move for move in impact(before, after)}
    assert set(moves) == {"e", "f"}
    assert moves["e"].after is None
    assert moves["f"].before is None


def test_20_000_links_are_scheduled_within_a_second():
    rng = random.Random(7)
    tasks = [Activity(f"t{n}", rng.randint(15, 900)) for n in range(10_000)]
    ties = []
    for _ in range(20_000):
        one = rng.randrange(9_999)
        ties.append(Link("blocks", f"t{one}", f"t{min(9_999, one + rng.randint(1, 300))}"))
    best = 9.0
    for _ in range(3):
        begun = time.process_time()
        schedule(tasks, ties, MONDAY)
        best = min(best, time.process_time() - begun)
    assert best < 1.0


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2000), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(["blocks", "parent"]), st.integers(0, 7), st.integers(0, 7)), max_size=12),
)
def test_dates_keep_every_link_and_slack_is_never_negative(minutes, pairs):
    tasks = [Activity(str(n), m) for n, m in enumerate(minutes)]
    ties = [Link(kind, str(a), str(b)) for kind, a, b in pairs if a < b < len(minutes)]
    try:
        found = schedule(tasks, ties, MONDAY)
    except Cyclic:
        return
    for link in ties:
        source, target = found.slots[link.source], found.slots[link.target]
        if link.kind == "blocks":
            assert target.es >= source.ef
            assert target.ls >= source.lf or target.summary
        else:
            assert source.es <= target.es
            assert source.ef >= target.ef
    for slot in found.slots.values():
        assert slot.slack >= 0
        assert slot.lf - slot.ef == slot.ls - slot.es == slot.slack
        assert slot.start <= slot.finish <= found.finish
    assert found.critical


def test_working_days_skip_weekends_and_holidays():
    friday = date(2026, 11, 6)
    assert add_working_days(friday, 0) == friday
    assert add_working_days(friday, 1) == date(2026, 11, 9)
    assert add_working_days(date(2026, 11, 7), 0) == date(2026, 11, 9)
    assert add_working_days(date(2026, 11, 9), -1) == friday
    assert working_days(friday, date(2026, 11, 9)) == 2
    assert working_days(friday, date(2026, 11, 5)) == 0
    closed = Calendar(holidays=frozenset({date(2026, 11, 9), date(2026, 11, 10)}))
    assert add_working_days(friday, 1, closed) == date(2026, 11, 11)


def test_an_impossible_calendar_is_refused():
    for bad in ({"weekdays": frozenset()}, {"weekdays": frozenset({7})}, {"minutes_per_day": 0}):
        with pytest.raises(ValueError, match="must"):
            Calendar(**bad)
    with pytest.raises(ValueError, match="9999"):
        add_working_days(MONDAY, 10**9)


@settings(deadline=None)
@given(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.integers(-300, 300),
    st.sets(st.dates(date(2019, 1, 1), date(2031, 1, 1)), max_size=30),
    st.sets(st.integers(0, 6), min_size=1),
)
def test_working_days_agree_with_walking_the_calendar(start, count, holidays, weekdays):
    calendar = Calendar(weekdays=frozenset(weekdays), holidays=frozenset(holidays))

    def works(day):
        return day.weekday() in weekdays and day not in holidays

    day = start
    while not works(day):
        day += timedelta(days=1)
    for _ in range(abs(count)):
        day += timedelta(days=1 if count > 0 else -1)
        while not works(day):
            day += timedelta(days=1 if count > 0 else -1)
    timeline = Timeline(calendar, start)
    assert timeline.working_day(count) == day
    assert timeline.day_number(day) == count
    assert timeline.is_working(day)
    assert STANDARD.minutes_per_day == DAY
