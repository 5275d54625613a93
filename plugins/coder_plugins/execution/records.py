"""What all parts of execution share: the domain itself, its settings, and the words of its states."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Domain, Fault, Invalid, Settings

domain = Domain("execution")

Key = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$(?!\n)")]
"""What a step is called in its run: letters, digits, `_`, `.` and `-`, 1 to 64 characters."""

StepKey = Annotated[str, Meta(min_length=1, max_length=200)]
"""Key of a step as it runs: of one of a fan-out `test[linux,3.12]`, of a compensation `build'`."""

Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$(?!\n)")]
"""A name of one word: of a signal, a resource, an input."""

RunStatus = Literal[
    "queued", "running", "waiting", "paused", "cancelling", "needs_decision", "blocked",
    "succeeded", "failed", "cancelled", "timed_out",
]  # fmt: skip
"""Of a run. The last four are ends, and never change."""

StepStatus = Literal[
    "pending", "ready", "running", "waiting", "needs_decision",
    "succeeded", "reused", "skipped", "failed", "cancelled",
]  # fmt: skip
"""Of a step. The last five are ends."""

ENDED_RUN = frozenset({"succeeded", "failed", "cancelled", "timed_out"})
ENDED_STEP = frozenset({"succeeded", "reused", "skipped", "failed", "cancelled"})
GOOD_STEP = frozenset({"succeeded", "reused"})

INLINE_LIMIT = 1024 * 1024
"""Bytes of JSON that the output of one step may take in the database; what is larger is kept as an artifact."""
LARGE = "output.json"
"""The name of that artifact."""


@domain.settings
class ExecutionSettings(Settings):
    """How much runs at once, and how long what it leaves behind is kept."""

    processes: Annotated[int, Meta(ge=1, le=256)] = max(2, os.cpu_count() or 2)
    """Steps that run a program of their own, at once."""
    others: Annotated[int, Meta(ge=1, le=1024)] = 256
    """Steps of all other kinds, at once."""
    runs_per_hour: Annotated[int, Meta(ge=1, le=1_000_000)] = 2_000
    """Sub-runs that one run and all below it may begin within an hour."""
    keep_runs_days: Annotated[int, Meta(ge=0, le=36_500)] = 90
    """Days that a run is kept after its end, with its steps and all that is known of them; 0 is for ever."""
    keep_runs: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000
    """Runs that are kept after their end, the newest; 0 is all of them."""
    keep_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """Days that output and artifacts are kept after the end of their run."""
    keep_mb: Annotated[int, Meta(ge=16, le=1_000_000)] = 2_048
    """Megabytes of output and artifacts that are kept; the oldest go first."""
    log_mb: Annotated[int, Meta(ge=1, le=4_096)] = 64
    """Megabytes of output kept of one attempt; what is more is counted, not kept."""


def refuse(faults: Sequence[Fault]) -> None:
    """Raise `Invalid` naming all faults; return if there are none."""
    if not faults:
        return
    first = faults[0]
    message = first.message
    if len(faults) > 1:
        message = f"{len(faults)} things are wrong: " + "; ".join(
            f"{each.field}: {each.message}" for each in faults[:5]
        )
    raise Invalid(message, field=first.field, hint=first.hint, faults=tuple(faults))
