"""The answers to calls that were ended from outside."""

from __future__ import annotations

from coder_local.api import TimedOut


def late(name: str, deadline: float) -> TimedOut:
    """Return the answer to a call that was stopped at its deadline."""
    return TimedOut(f"{name} took longer than {deadline:g} s and was stopped")


def cancelled(name: str) -> TimedOut:
    """Return the answer to a call that its caller cancelled."""
    return TimedOut(f"{name} was cancelled", data={"cancelled": True})
