"""The time, and ids that sort by it. A test gives its own clock."""

from __future__ import annotations

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


def instant(ms: int) -> str:
    """Return the text of a moment, `2026-11-20T16:15:27.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"


class IdMaker:
    """Makes UUIDv7 texts (RFC 9562) that always sort after the ones made before, even if the clock is set back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ms = 0
        self._count = 0

    def new(self) -> str:
        """Return the next id."""
        ms = self._clock.now_ms()
        if ms > self._ms:
            self._ms, self._count = ms, int.from_bytes(os.urandom(2), "big") & 0x7FF
        else:
            self._count += 1
            if self._count > 0xFFF:  # the 12 bits after the time are a counter within one millisecond
                self._ms, self._count = self._ms + 1, 0
        high = (self._ms << 16) | 0x7000 | self._count
        low = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        text = f"{high:016x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
