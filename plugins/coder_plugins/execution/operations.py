"""The operations of execution: importing its parts declares theirs; here are the kinds of steps that it offers."""

from __future__ import annotations

from typing import Any

from coder_local.api import HealthCheck

from .artifacts import jobs as clearing
from .artifacts import operations as artifacts
from .definitions import operations as definitions
from .engine import jobs
from .logs import operations as logs
from .records import domain
from .runs import operations as runs
from .runs.forking import operations as forking
from .runs.steering import operations as steering
from .runs.undoing import operations as undoing

__all__ = [
    "artifacts",
    "clearing",
    "definitions",
    "forking",
    "health_checks",
    "jobs",
    "logs",
    "runs",
    "steering",
    "step_kinds",
    "undoing",
]


@domain.hook
def step_kinds() -> list[Any]:
    """Return the kinds of steps that come with execution."""
    from .kinds import bundled  # noqa: PLC0415 - 10 ms, and no kind is asked for at start

    return list(bundled.KINDS)


@domain.hook
def health_checks() -> list[HealthCheck]:
    """Return what the doctor looks at: programs that nobody follows any more."""
    from .processes import orphans  # noqa: PLC0415 - not at every start

    return [HealthCheck("processes", orphans.look)]
