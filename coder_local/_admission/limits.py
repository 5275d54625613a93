"""Rate limits in memory: a token bucket for bursts, a sliding window for the long run."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from coder_local.api import RateLimited

Now = Callable[[], float]
"""Seconds of a clock that is never set back."""

WINDOW = 900.0
"""Seconds that the sliding window spans."""
_LIMITERS = 10_000
"""Tokens whose use is remembered at the same time; those unused for longest are forgotten first."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the holder of a scoped token may call."""

    per_second: Annotated[float, Meta(gt=0, le=100_000)] = 100.0
    """Calls that become free each second."""
    burst: Annotated[int, Meta(ge=1, le=100_000)] = 200
    """Calls that may come at once after a rest."""
    per_window: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """Calls within any 15 minutes."""


class TokenBucket:
    """Lets `burst` through at once and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int, now: Now) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._level = float(burst)
        self._at = now()

    def wait(self) -> float:
        """Return the seconds until one more may pass; 0 if one may now."""
        now = self._now()
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        return max(0.0, (1 - self._level) / self._per_second)

    def take(self) -> None:
        """Count one that has passed."""
        self._level -= 1


class SlidingWindow:
    """Lets at most `most` through within any span of `WINDOW` seconds."""

    def __init__(self, most: int, now: Now) -> None:
        self._most = most
        self._now = now
        self._passed: deque[float] = deque()

    def wait(self) -> float:
        """Return the seconds until one more may pass; 0 if one may now."""
        now = self._now()
        while self._passed and self._passed[0] <= now - WINDOW:
            self._passed.popleft()
        return self._passed[0] + WINDOW - now if len(self._passed) >= self._most else 0.0

    def take(self) -> None:
        """Count one that has passed."""
        self._passed.append(self._now())


class Limiter:
    """Both limits of one caller."""

    def __init__(self, limits: Limits, now: Now) -> None:
        self._limits = limits
        self._bucket = TokenBucket(limits.per_second, limits.burst, now)
        self._window = SlidingWindow(limits.per_window, now)

    def take(self) -> None:
        """Count a call. Raises `RateLimited`, and counts nothing, if it is one too many."""
        short, long = self._bucket.wait(), self._window.wait()
        if short > 0 or long > 0:
            rule = (
                f"{self._limits.per_window} calls in 15 minutes"
                if long
                else f"{self._limits.per_second:g} calls a second"
            )
            raise limited(f"this token may make {rule}", max(short, long))
        self._bucket.take()
        self._window.take()


class Limiters:
    """The limiters of all callers, by the id of their token."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._by_token: OrderedDict[str, Limiter] = OrderedDict()

    def of(self, token: str, limits: Callable[[], Limits]) -> Limiter:
        """Return the limiter of a token; `limits` is asked when it is not known yet."""
        found = self._by_token.get(token)
        if found is None:
            found = self._by_token[token] = Limiter(limits(), self._now)
            if len(self._by_token) > _LIMITERS:
                self._by_token.popitem(last=False)
        self._by_token.move_to_end(token)
        return found


def limited(message: str, wait: float) -> RateLimited:
    """Return the answer to one call too many; `wait` is in seconds."""
    milliseconds = max(1, math.ceil(wait * 1000))
    return RateLimited(message, hint=f"come back in {milliseconds} ms", data={"retry_after_ms": milliseconds})
