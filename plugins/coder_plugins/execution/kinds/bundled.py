"""The kinds of steps that come with execution."""

from __future__ import annotations

from typing import Any

from coder_local.api import StepKind

from .approval import ApprovalKind
from .command import CommandKind
from .fileedit import FileEditKind
from .http import HttpKind
from .operation import OperationKind
from .signal import SignalKind
from .subrun import SubRunKind
from .timer import TimerKind

KINDS: tuple[StepKind[Any], ...] = (
    OperationKind(), CommandKind(), HttpKind(), FileEditKind(), TimerKind(), ApprovalKind(), SignalKind(), SubRunKind(),
)  # fmt: skip
