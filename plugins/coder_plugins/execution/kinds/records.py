"""What the kinds of steps take, and the kind that waits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from coder_local.api import Duration, Instant, Markdown, Safety, Snapshot, StepKind, Title, Value
from coder_plugins.execution.definitions.records import StepSpec
from coder_plugins.execution.records import Word
from coder_plugins.execution.runs.records import Wait

I = TypeVar("I", bound=Value)  # noqa: E741 - the input of a kind
Path = Annotated[str, Meta(min_length=1, max_length=4_096)]
"""A path below the folder of the run, or an absolute one inside it."""
Argument = str | int | float
"""A number is written as in JSON: the values of a matrix often are numbers."""
Environment = dict[str, str | int | float]
"""Variables by name; a number is written as in JSON. A value may be a `secret://` reference, or hold some."""


class IdleKind(StepKind[I]):
    """A kind of step that does nothing itself: `sub_run`, whose run the state machine makes, or a `WaitKind`."""


class WaitKind(IdleKind[I]):
    """A kind of step that waits for a time, a person or a signal."""

    @abstractmethod
    def begin(self, now_ms: int, input: I, /) -> Wait:
        """Return what is waited for; run and key are filled in by the state machine."""

    def safety(self, read: Snapshot, input: I, /) -> Safety:  # noqa: ARG002
        return Safety.READ


class OperationInput(Value):
    """A step of kind `operation`: any operation of the daemon, with the rights of whoever started the run."""

    operation: Annotated[str, Meta(min_length=3, max_length=200)]
    """Its full name, `planning.tasks.create`."""
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class CommandInput(Value):
    """A step of kind `command`: a program with its arguments, in a session of its own."""

    run: (
        Annotated[
            list[Argument],
            Meta(
                min_length=1,
                max_length=10_000,
                extra={"expected": "a list of arguments; for a line of a shell write shell instead of run"},
            ),
        ]
        | None
    ) = None
    """The program and its arguments; no shell reads them."""
    shell: Annotated[str, Meta(min_length=1, max_length=100_000)] | None = None
    """Instead of `run`: a line for the shell, asked for by name. It has no references: pass them by `env`."""
    cwd: Path | None = None
    env: Environment = msgspec.field(default_factory=Environment)
    ok_codes: Annotated[list[int], Meta(min_length=1, max_length=256)] = msgspec.field(default_factory=lambda: [0])
    """Exit codes that count as success."""
    grace: Duration | None = None
    """How long it is given after the soft signal; without it SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL."""
    on_daemon_death: Literal["adopt", "kill"] = "adopt"
    """Whether it goes on when the daemon dies, and its end is found later."""
    check: Annotated[list[Argument], Meta(min_length=1, max_length=10_000)] | None = None
    """A program that tells with exit code 0 that it was done; asked when a crash left that undecided."""
    artifacts: Annotated[list[Path], Meta(max_length=1_000)] = msgspec.field(default_factory=list[Path])
    """Files that are kept when it ended well, below `cwd`; `*`, `?` and `**` stand for names."""
    output: Literal["text", "json", "none"] = "text"
    """What the output of the step holds of its standard output: the end of it, or all of it as JSON."""


class HttpInput(Value):
    """A step of kind `http`: one request."""

    url: Annotated[str, Meta(min_length=8, max_length=8_192, pattern=r"^(https?://|\$\{\{)")]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: Environment = msgspec.field(default_factory=Environment)
    json: Any = msgspec.UNSET
    body: Annotated[str, Meta(max_length=1_000_000)] | None = None
    """Instead of `json`: a text."""
    idempotency_header: Word | None = None
    """The header by which the other side knows a repeated request, mostly `Idempotency-Key`: it is sent with the same
    value in every attempt, so that a repetition is safe."""
    ok_statuses: Annotated[list[int], Meta(min_length=1, max_length=100)] | None = None
    """Statuses that count as success; without it all below 400."""


class Replacement(Value):
    """One exact text in a file, and what takes its place."""

    old: Annotated[str, Meta(min_length=1, max_length=1_000_000)]
    """It must be there exactly once."""
    new: Annotated[str, Meta(max_length=1_000_000)]


class FileEditInput(Value):
    """A step of kind `file_edit`: one file below the folder of the run, written whole or not at all."""

    path: Path
    content: Annotated[str, Meta(max_length=10_000_000)] | None = None
    """The new content of the whole file; made if it is not there."""
    replace: Annotated[list[Replacement], Meta(min_length=1, max_length=1_000)] | None = None
    """Instead of `content`: texts that are replaced, in order."""
    delete: bool = False
    """Instead of both: the file is removed."""
    expect: Annotated[str, Meta(pattern=r"^(absent|[0-9a-f]{64})$(?!\n)")] | None = None
    """SHA-256 of what the file must be before, or `absent`; the step fails, and changes nothing, if it is other."""


class TimerInput(Value):
    """A step of kind `timer`: it ends after a time, or at a moment, by the clock on the wall."""

    duration: Duration | None = None
    until: Instant | None = None
    """Instead of `duration`."""


class ApprovalInput(Value):
    """A step of kind `approval`: a person decides on exactly what is shown."""

    prompt: Markdown
    shown: Any = None
    """What is decided on: a command, a difference, a list of recipients. The decision is bound to its hash."""
    choices: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(min_length=1, max_length=20)] = (
        msgspec.field(default_factory=lambda: ["approve", "reject"])
    )
    default: str | None = None
    """The choice that is taken when the step's `deadline` passes; without one the step fails then."""


class SignalInput(Value):
    """A step of kind `signal`: it waits until the run is sent a signal of that name, which may have come before."""

    name: Word


class SubRunInput(Value):
    """A step of kind `sub_run`: a run of its own, whose end is the end of the step."""

    steps: Annotated[list[StepSpec], Meta(max_length=2_000)] = msgspec.field(default_factory=list[StepSpec])
    definition: (
        Annotated[
            str,
            Meta(
                pattern=r"^(self|[0-9a-f]{64})$(?!\n)",
                extra={"expected": "self, or the hash of steps that ran before: the `definition` of their run"},
            ),
        ]
        | None
    ) = None
    """Instead of `steps`: the hash of steps that ran before, or `self` for those that this step is one of."""
    inputs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    name: Title | None = None
