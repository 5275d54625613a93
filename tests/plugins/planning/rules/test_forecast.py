from datetime import date
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_plugins.planning.rules.errors import ThinData
from coder_plugins.planning.rules.forecast import MOST_WEEKS, chance_within, forecast
from coder_plugins.planning.rules.health import health

P50, P85 = date(2026, 12, 11), date(2027, 1, 8)


def test_twenty_tasks_at_the_last_six_weeks_pace():
    found = forecast([3, 5, 2, 4, 4, 1], 20)
    assert (found.p50, found.p85, found.p95) == (7, 8, 9)
    chances = [f"{chance_within(found, weeks):.2%}" for weeks in (6, 7, 8)]
    assert chances == ["44.94%", "77.26%", "93.42%"]
    assert chance_within(found, 3) == 0
    assert chance_within(found, 500) > 0.999
    assert found.basis.throughput == [3, 5, 2, 4, 4, 1]
    assert forecast([3, 5, 2, 4, 4, 1], 20) == found


def test_only_the_last_twelve_weeks_count():
    assert forecast([100] * 5 + [1] * 12, 6).p50 == 6


def test_nothing_left_takes_no_time():
    assert forecast([0, 0, 0, 0], 0).p95 == 0


@pytest.mark.parametrize(("weeks", "word"), [([3, 5, 2], "at least 4"), ([], "at least 4"), ([0] * 6, "nothing was")])
def test_thin_data_is_refused(weeks, word):
    with pytest.raises(ThinData, match=word):
        forecast(weeks, 20)


def test_negative_numbers_are_refused():
    for weeks, remaining in (([1, 2, 3, -1], 5), ([1, 2, 3, 4], -5)):
        with pytest.raises(ValueError, match="0 or more"):
            forecast(weeks, remaining)


def test_a_date_too_far_away_is_unknown():
    found = forecast([0, 0, 0, 1], 10_000)
    assert (found.p50, found.p85, found.p95, found.distribution) == (None, None, None, [])
    near = forecast([0, 0, 0, 1], MOST_WEEKS // 4)
    assert near.p50 is not None
    assert near.p95 is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=5), st.integers(1, 9))
def test_chances_are_those_of_counting_every_way(weeks, remaining):
    if not any(weeks):
        return
    found = forecast(weeks, remaining)
    for count in (1, 2, 4):
        ways = [sum(way) >= remaining for way in product(weeks, repeat=count)]
        if sum(ways) < len(ways):
            assert chance_within(found, count) == pytest.approx(sum(ways) / len(ways))
    chances = [row.chance for row in found.distribution]
    assert chances == sorted(chances)


def test_a_target_before_p85_is_at_risk_and_before_p50_off_track():
    found = health(date(2026, 12, 18), P50, P85)
    assert found.status == "at_risk"
    assert "p85 forecast 2027-01-08" in found.reasons[0]
    assert "21 days after the target 2026-12-18" in found.reasons[0]
    found = health(date(2026, 12, 4), P50, P85)
    assert found.status == "off_track"
    assert "p50 forecast 2026-12-11" in found.reasons[0]


def test_other_states_of_health_give_their_reason():
    assert health(P85, P50, P85).status == "on_track"
    assert health(P50, P50, P50).status == "on_track"
    assert health(None, P50, P85).status == "unknown"
    assert "target" in health(None, P50, P85).reasons[0]
    thin = health(P85, None, None, why_no_forecast="there are only 2 weeks")
    assert (thin.status, thin.reasons) == ("unknown", ["there is no forecast: there are only 2 weeks"])
    assert health(P85, P50, None).status == "at_risk"
    assert health(P50, None, None, remaining=0).status == "on_track"
    past = health(P50, None, None, remaining=3, today=date(2026, 12, 12))
    assert (past.status, past.reasons) == ("off_track", ["the target 2026-12-11 has passed with 3 open tasks left"])
