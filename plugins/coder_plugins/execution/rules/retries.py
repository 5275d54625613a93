"""How long is waited between two attempts."""

from __future__ import annotations

import random

from coder_local.api import parse_duration
from coder_plugins.execution.definitions.records import Retry


def longest(retry: Retry, failed: int) -> float:
    """Return the seconds to wait after so many failed attempts (1 or more), before any of it is left to chance.

    `first * factor ** (failed - 1)`, at most `cap`: with 1 s, 2 and 100 s that is 1, 2, 4, ..., 64, 100, 100.
    """
    first, cap = parse_duration(retry.first).total_seconds(), parse_duration(retry.cap).total_seconds()
    if retry.factor > 1 and failed > 1_000:
        return cap
    try:
        return min(cap, first * retry.factor ** (failed - 1))
    except OverflowError:
        return cap


def wait(retry: Retry, failed: int, chance: random.Random) -> float:
    """Return the seconds to wait: all of `longest`, or with full jitter an even random part of it."""
    return longest(retry, failed) * (chance.random() if retry.jitter == "full" else 1.0)


def again(retry: Retry, failed: int, word: str) -> bool:
    """Tell whether there is another attempt after so many failed ones, the last one with an error of that word."""
    return failed < retry.max and (not retry.on or word in retry.on)
