"""Steps of kind `signal`: they wait until their run is sent a signal, which may have come before."""

from __future__ import annotations

from coder_plugins.execution.runs.records import Wait

from .records import SignalInput, WaitKind


class SignalKind(WaitKind[SignalInput]):
    """Wait for a signal by name; one that came early is kept."""

    name = "signal"
    input = SignalInput

    def begin(self, now_ms: int, input: SignalInput, /) -> Wait:  # noqa: ARG002
        return Wait(run="", key="", kind="signal", name=input.name)
