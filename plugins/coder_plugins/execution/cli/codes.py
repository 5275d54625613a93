"""Exit codes of `run` and `runs follow`, beside those that every command has."""

from __future__ import annotations

from coder_local.cli.api import INTERRUPTED

FAILED = 1
"""The run failed, as a compiler that found errors."""
CANCELLED = 20
"""The run was cancelled, from elsewhere than this terminal."""
UNDECIDED = 21
"""The run waits for a decision on a step that a crash left undecided, and nobody is at this terminal to make it."""
TIMED_OUT = 11
"""The deadline of the run has passed; the same as of the error kind `timeout`."""

_BY_STATUS = {"succeeded": 0, "failed": FAILED, "cancelled": CANCELLED, "timed_out": TIMED_OUT}


def of(status: str, *, interrupted: bool = False) -> int:
    """Return the code for the end of a run; `interrupted` tells that Ctrl-C at this terminal cancelled it."""
    if status == "cancelled" and interrupted:
        return INTERRUPTED
    return _BY_STATUS.get(status, UNDECIDED)
