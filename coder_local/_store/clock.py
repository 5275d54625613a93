"""The time, and ids that sort by it. A test gives its own clock."""

from __future__ import annotations

import functools
import os
import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 in UTC."""
        return time.time_ns() // 1_000_000


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, ms: int = 1_767_225_600_000) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        """Return the time it was set to."""
        return self.ms

    def advance(self, seconds: float) -> None:
        """Move on by some seconds; back when negative."""
        self.ms += round(seconds * 1000)


@functools.lru_cache(maxsize=64)  # all that one commit writes has few moments, and each is asked for often
def instant(ms: int) -> str:
    """Return the text of a moment, `2026-11-20T16:15:27.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@functools.lru_cache(maxsize=64)  # nearly all moments that are written lie in the present second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class IdMaker:
    """Makes UUIDv7 texts (RFC 9562) that always sort after the ones made before, even if the clock is set back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ms = 0
        self._count = 0
        self._head = ""
        """The part of the text that tells the millisecond."""

    def new(self) -> str:
        """Return the next id."""
        ms = self._clock.now_ms()
        if ms > self._ms:
            self._begin(ms, int.from_bytes(os.urandom(2), "big") & 0x7FF)
        else:
            self._count += 1
            if self._count > 0xFFF:  # the 12 bits after the time are a counter within one millisecond
                self._begin(self._ms + 1, 0)
        random = os.urandom(8)
        return f"{self._head}{self._count:03x}-{_VARIANT[random[0]]}{random[1:2].hex()}-{random[2:].hex()}"

    def _begin(self, ms: int, count: int) -> None:
        self._ms, self._count = ms, count
        text = f"{ms:012x}"
        self._head = f"{text[:8]}-{text[8:]}-7"


_VARIANT = [f"{0x80 | byte & 0x3F:02x}" for byte in range(256)]
"""The first byte of the random part, with the two bits that tell the kind of UUID."""
