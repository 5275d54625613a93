"""What is answered of output, and said while a run goes on."""

from __future__ import annotations

from typing import Literal

from coder_local.api import Instant, Value
from coder_plugins.execution.records import StepKey

PAGE = 256 * 1024
"""Bytes of output on a page."""


class Piece(Value):
    """A piece of output."""

    at: Instant
    stream: Literal["stdout", "stderr", "gap"]
    """`gap` stands where output was left out, because there was more than is kept."""
    text: str
    """Bytes that are no UTF-8 are replaced; of a gap how many bytes it stands for."""


class LogPage(Value):
    """Some output of one attempt, in the order in which it came."""

    run: str
    step: StepKey
    attempt: int
    items: list[Piece]
    offset: int
    """Give it as `offset` to go on after this page."""
    ended: bool
    """Whether no more will come."""


class Said(Value):
    """Something that happened in a run while it is followed."""

    type: Literal["run", "step", "output", "wait"]
    cursor: str
    """Give it as `cursor` to go on after this item."""
    at: Instant
    step: StepKey | None = None
    status: str | None = None
    """Of a run or a step: what it is now. Of a wait: what is waited for."""
    attempt: int | None = None
    stream: Literal["stdout", "stderr", "gap"] | None = None
    text: str | None = None
    """Of output: the text. Of a step that failed: why."""
    approval: str | None = None
    """Of a wait that a person ends: its id."""
