"""Rate limits, by a clock that stands still until it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local._admission.limits import WINDOW, Limiter, Limiters, Limits, SlidingWindow, TokenBucket
from coder_local.api import RateLimited


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def take(limiter, count):
    """Return how many of some calls pass."""
    passed = 0
    for _ in range(count):
        try:
            limiter.take()
            passed += 1
        except RateLimited:
            pass
    return passed


def test_a_burst_passes_and_then_the_rate():
    clock = Clock()
    limiter = Limiter(Limits(), clock)
    assert take(limiter, 300) == 200
    clock.at += 0.5
    assert take(limiter, 300) == 50
    clock.at += 60
    assert take(limiter, 300) == 200


def test_the_window_holds_a_thousand_calls_in_fifteen_minutes():
    clock = Clock()
    limiter = Limiter(Limits(), clock)
    passed = 0
    for _ in range(100):
        passed += take(limiter, 20)
        clock.at += 1
    assert passed == 1000
    with pytest.raises(RateLimited) as refused:
        limiter.take()
    wait = refused.value.data["retry_after_ms"] / 1000
    assert wait == WINDOW - 100
    clock.at += wait
    assert take(limiter, 100) == 20


def test_the_wait_that_is_named_is_the_wait_that_is_needed():
    clock = Clock()
    limiter = Limiter(Limits(per_second=4, burst=1, per_window=1000), clock)
    limiter.take()
    with pytest.raises(RateLimited) as refused:
        limiter.take()
    assert refused.value.data["retry_after_ms"] == 250
    clock.at += 0.249
    assert take(limiter, 1) == 0
    clock.at += 0.001
    assert take(limiter, 1) == 1


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(0.5, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate_allow(pauses, rate, burst):
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)
    begun, passed = clock.at, 0
    for pause in pauses:
        clock.at += pause
        if bucket.wait() <= 0:
            bucket.take()
            passed += 1
    assert passed <= burst + rate * (clock.at - begun) + 1e-6


@given(st.lists(st.floats(0, 300), max_size=200), st.integers(1, 20))
def test_never_more_than_the_window_allows(pauses, most):
    clock = Clock()
    window = SlidingWindow(most, clock)
    times = []
    for pause in pauses:
        clock.at += pause
        if window.wait() <= 0:
            window.take()
            times.append(clock.at)
    for late in times:
        assert sum(late - WINDOW < each <= late for each in times) <= most


def test_the_limiters_forget_those_unused_for_longest():
    limiters = Limiters(Clock())
    first = limiters.of("first", Limits)
    for number in range(10_000):
        limiters.of(str(number), Limits)
        limiters.of("kept", Limits)
    assert limiters.of("first", Limits) is not first
    assert len(limiters._by_token) == 10_000
