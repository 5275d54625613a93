"""Steps of kind `timer`: they end after a time or at a moment, by the clock on the wall, once however late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from coder_local.api import Fault, Snapshot, format_instant, parse_duration, parse_instant
from coder_plugins.execution.definitions.rules import seconds_of
from coder_plugins.execution.runs.records import Wait

from .records import TimerInput, WaitKind

LONGEST_S = 36_500 * 24 * 3600
"""Seconds of the longest timer: moments after the year 9999 cannot be written."""


class TimerKind(WaitKind[TimerInput]):
    """Wait for a time to pass, or for a moment."""

    name = "timer"
    input = TimerInput

    def check(self, read: Snapshot, input: TimerInput, /) -> Iterable[Fault]:  # noqa: ARG002
        if (input.duration is None) == (input.until is None):
            hint = "duration: PT30M, or until: 2026-11-20T16:15:27Z"
            yield Fault("/duration", "give either duration or until", hint)
        if input.duration is not None and seconds_of(input.duration) > LONGEST_S:
            yield Fault("/duration", f"a timer cannot wait {input.duration}", "at most P36500D")
        if input.until is not None and _moment(input.until) is None:
            yield Fault("/until", f"{input.until} is not a moment of the calendar", None)

    def begin(self, now_ms: int, input: TimerInput, /) -> Wait:
        if input.until is not None:
            # written in the one way in which the moments of all waits can be compared as texts
            return Wait(run="", key="", kind="timer", due_at=format_instant(parse_instant(input.until)))
        due = now_ms + round(parse_duration(input.duration or "PT0S").total_seconds() * 1000)
        return Wait(run="", key="", kind="timer", due_at=format_instant(datetime.fromtimestamp(due / 1000, UTC)))


def _moment(text: str) -> str | None:
    try:
        return format_instant(parse_instant(text))
    except (ValueError, OverflowError):
        return None
