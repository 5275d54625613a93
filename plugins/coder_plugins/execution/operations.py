"""The operations of execution: importing its parts declares theirs; here are the kinds of steps that it offers."""

from __future__ import annotations

from typing import Any

from coder_local.api import StepKind

from .artifacts import operations as artifacts
from .definitions import operations as definitions
from .engine import jobs
from .kinds.approval import ApprovalKind
from .kinds.command import CommandKind
from .kinds.fileedit import FileEditKind
from .kinds.http import HttpKind
from .kinds.operation import OperationKind
from .kinds.signal import SignalKind
from .kinds.subrun import SubRunKind
from .kinds.timer import TimerKind
from .logs import operations as logs
from .records import domain
from .runs import operations as runs
from .runs.forking import operations as forking
from .runs.steering import operations as steering

__all__ = ["artifacts", "definitions", "forking", "jobs", "logs", "runs", "steering", "step_kinds"]

_KINDS: tuple[StepKind[Any], ...] = (
    OperationKind(), CommandKind(), HttpKind(), FileEditKind(), TimerKind(), ApprovalKind(), SignalKind(), SubRunKind(),
)  # fmt: skip


@domain.hook
def step_kinds() -> list[Any]:
    """Return the kinds of steps that come with execution."""
    return list(_KINDS)
