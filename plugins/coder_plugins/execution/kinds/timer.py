"""Steps of kind `timer`: they end after a time or at a moment, by the clock on the wall, once however late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from coder_local.api import Fault, Snapshot, format_instant, parse_duration
from coder_plugins.execution.runs.records import Wait

from .records import TimerInput, WaitKind


class TimerKind(WaitKind[TimerInput]):
    """Wait for a time to pass, or for a moment."""

    name = "timer"
    input = TimerInput

    def check(self, read: Snapshot, input: TimerInput, /) -> Iterable[Fault]:  # noqa: ARG002
        if (input.duration is None) == (input.until is None):
            hint = "duration: PT30M, or until: 2026-11-20T16:15:27Z"
            yield Fault("/duration", "give either duration or until", hint)

    def begin(self, now_ms: int, input: TimerInput, /) -> Wait:
        if input.until is not None:
            return Wait(run="", key="", kind="timer", due_at=input.until)
        due = now_ms + round(parse_duration(input.duration or "PT0S").total_seconds() * 1000)
        return Wait(run="", key="", kind="timer", due_at=format_instant(datetime.fromtimestamp(due / 1000, UTC)))
