"""What is kept of a run. Only the state machine writes here, so nothing of it is undone; a retry makes a new run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import Duration, Event, Id, Index, Instant, Record, Rights, Title, Value
from coder_plugins.execution.records import RunStatus, StepKey, StepStatus, Word, domain

RunKind = Literal["plan", "workflow", "agent", "command", "backtest", "other"]
Reference = Annotated[str, Meta(min_length=1, max_length=200)]
"""What a run was made from, for its maker to know it again: `planning.plan/<id>@2`."""


class StepFault(Value):
    """Why a step, or an attempt at it, failed."""

    word: str
    """What `retry.on` names it by: `timeout`, `exit`, `reference`, or the kind of a named error."""
    message: str
    data: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class CompensationEnd(Value):
    """How one compensation ended."""

    step: StepKey
    """The step that it undid."""
    status: StepStatus
    message: str | None = None


class RunEnd(Value):
    """Why a run did not succeed."""

    step: StepKey | None
    """The step that failed first, if one did."""
    word: str
    message: str
    failed: list[StepKey] = msgspec.field(default_factory=list[StepKey])
    """All steps that failed, at most 100."""
    compensations: list[CompensationEnd] = msgspec.field(default_factory=list[CompensationEnd])
    """In the order in which they were run."""


@domain.table(
    "runs",
    indexes=(
        ("concurrency_key", "status"),
        ("deadline_at",),
        ("parent_run",),
        ("source_ref",),
        # Asked for with the status, `status > ''` where it may be any: else SQLite prefers to read all runs.
        Index(fields=("status",), where="finished_at IS NULL"),
        Index(fields=("finished_at",), where="finished_at IS NOT NULL"),
        ("definition",),
    ),
    history=False,
)
class Run(Record):
    """One run of some steps."""

    name: Title
    kind: RunKind = "other"
    source_ref: Reference | None = None
    definition: Id
    """Hash of the steps it is held to, whatever becomes of what they were made from."""
    status: RunStatus = "queued"
    mode: Literal["live", "dry"] = "live"
    """`dry` resolves everything and runs only what reads."""
    inputs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    folder: str | None = None
    """The folder it works in."""
    rights: Rights
    """Of whoever started it: its steps run with no more."""
    priority: int = 0
    concurrency_key: Word | None = None
    """Of the runs with the same key only one runs at a time; the others stay queued."""
    only: list[StepKey] = msgspec.field(default_factory=list[StepKey])
    """If not empty: the steps of a fan-out that are run, the others are left out."""
    parent_run: Id | None = None
    parent_step: StepKey | None = None
    depth: int = 0
    """How many runs are above it."""
    forked_from: Id | None = None
    fork: Literal["retry", "rewind"] | None = None
    redo: list[StepKey] = msgspec.field(default_factory=list[StepKey])
    """Of one made from another: steps whose results are not taken over, though they are the same."""
    paused: bool = False
    cancelling: bool = False
    grace_ms: int | None = None
    """How long a process is given after the soft signal; None for the whole ladder."""
    compensating: bool = False
    """Whether it runs compensations, or will when what runs has ended."""
    timed_out: bool = False
    faulted: bool = False
    """Whether the engine itself failed at it, and leaves it alone until it is resumed; `reason` names the fault."""
    deadline: Duration | None = None
    """How long it was given from when it was made; a retry is given the same anew."""
    deadline_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    output: dict[str, Any] | None = None
    """Outputs of the last steps, those that no other needs, by key; those over 4 KiB are left to the step."""
    error: RunEnd | None = None
    reason: str | None = None
    """Why it is blocked."""
    moves: int = 0
    """Counts its transactions, so that a copy in memory is known from one that was rolled back."""


@domain.table(
    "steps",
    indexes=(
        ("run",),
        Index(
            name="queue",
            fields=("process", "workspace_id", "priority DESC", "ready_at", "run", "position"),
            where="status = 'ready'",
        ),
        Index(fields=("hash", "workspace_id"), where="status = 'succeeded'"),
    ),
    history=False,
)
class Step(Record):
    """One step of a run, as it runs; its id is `<run>/<key>`."""

    run: Id
    key: StepKey
    position: int
    """Order within the run: as written, the steps of a fan-out after it."""
    parent: StepKey | None = None
    """The fan-out that it is one of, or the step that it compensates."""
    role: Literal["step", "fan_out", "item", "compensation"] = "step"
    kind: Word
    revision: int = 1
    """Of its kind, when the run was made."""
    status: StepStatus = "pending"
    process: bool = False
    priority: int = 0
    item: Any | None = None
    """Of one of a fan-out: its item, or its combination by axis."""
    hash: str
    """Of all that its result hangs on: what it is, what it needs, its item. Equal hashes have equal results."""
    attempts: int = 0
    recoveries: int = 0
    """How often a crash of the daemon cut it off."""
    ready_at: Instant | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
    active_ms: int = 0
    """How long its attempts took together."""
    output: Any | None = None
    artifact: str | None = None
    """Hash of the output, if it is too large to be kept here."""
    error: StepFault | None = None
    reused_from: Id | None = None
    """The run whose result it took over."""
    late_by_ms: int | None = None
    """Of a timer: how much later than due it fired."""
    ended: int | None = None
    """Its place in the order in which the run's steps came to their ends, 1 first."""
    reason: str | None = None
    """Why it was skipped, or what it waits for."""


@domain.table(
    "attempts", indexes=(("run",), Index(fields=("id",), where="state IN ('intent', 'started')")), history=False
)
class Attempt(Record):
    """One attempt at a step; its id is `<run>/<key>/<n>`. The output of one that is done stands with its step."""

    run: Id
    key: StepKey
    n: int
    state: Literal["intent", "started", "done", "failed", "lost", "cancelled", "unknown"]
    """`intent`: nothing was done yet. `lost`: a crash cut it off, and it was begun anew."""
    boot: Id
    """The start of the engine that made it."""
    effect: str
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What it was given, references resolved; secrets stay references."""
    facts: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What was found out before the effect, to judge a crash by."""
    idempotency_key: str
    timeout_ms: int
    started_at: Instant
    ended_at: Instant | None = None
    exit_code: int | None = None
    signal: str | None = None
    error: StepFault | None = None
    log_bytes: int = 0
    """Bytes of output that are kept of it."""


@domain.table("waits", indexes=(("run",), Index(fields=("due_at",), where="status = 'open'")), history=False)
class Wait(Record):
    """What a step waits for."""

    run: Id
    key: StepKey
    kind: Literal["timer", "retry", "queue", "approval", "signal", "child", "decision", "lock", "deadline"]
    """`deadline` and `queue` stand beside a step that works, or is ready to."""
    status: Literal["open", "closed"] = "open"
    name: str | None = None
    """Of a signal its name, of a lock the resource, of a child its run."""
    due_at: Instant | None = None
    """When it fires by itself, by the clock on the wall."""
    due_means: Literal["done", "failed", "again", "default"] = "done"
    prompt: str | None = None
    shown: Any | None = None
    """What the person sees who decides."""
    shown_hash: str | None = None
    """Hash of it: a decision on anything else is refused."""
    choices: list[str] = msgspec.field(default_factory=list[str])
    default_choice: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    decided_at: Instant | None = None
    payload: Any | None = None


@domain.table("signals", indexes=(("run", "name"),), unique=(("run", "dedupe_key"),), history=False)
class Signal(Record):
    """A signal that a run was sent; it is kept until a step takes it."""

    run: Id
    name: Word
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    payload: Any | None = None
    consumed_by: StepKey | None = None


@domain.table("artifacts", indexes=(("run", "key"), ("sha256",)), history=False)
class Artifact(Record):
    """Something that a step left behind; its content is kept by its hash, for as long as the settings say."""

    run: Id
    key: StepKey
    n: int
    """The attempt; 0 of the joined output of a fan-out."""
    name: Annotated[str, Meta(min_length=1, max_length=1_000)]
    sha256: str
    bytes: int
    media_type: str


@domain.table("locks", history=False)
class Lock(Record):
    """A resource that a step holds; its id is `<workspace>/<name>`."""

    name: Word
    run: Id
    key: StepKey


@domain.table("removals", history=False)
class Removal(Record):
    """A run that was removed, while something of it is left; its id is that of the run."""


@domain.table("boots", history=False)
class Boot(Record):
    """One start of the engine; attempts of another one were cut off."""

    pid: int
    stopped_at: Instant | None = None
    """Empty for one that was killed."""


runs = domain.standard(
    Run,
    operations=("list",),
    filters=("status", "kind", "source_ref", "parent_run", "forked_from"),
    sort=("created_at",),
    search=("name",),
)
steps = domain.standard(Step, operations=("list",), filters=("run",))  # each index is written with every step
attempts = domain.standard(Attempt, operations=("list",), filters=("run",))
artifacts = domain.standard(Artifact, operations=("list", "get"), filters=("run", "key"), sort=("name",))
waits = domain.standard(Wait, operations=("list",), filters=("run", "status", "kind"), sort=("due_at",))


class _OfRun(Event):
    run: str


@domain.event("execution.run.queued")
class RunQueued(_OfRun):
    """A run was taken in: its whole graph is on disk, and nothing of it has begun."""


@domain.event("execution.run.started")
class RunStarted(_OfRun):
    """A run began."""

    source_ref: str | None = None


@domain.event("execution.run.finished")
class RunFinished(_OfRun):
    """A run came to its end: `succeeded`, `failed`, `cancelled` or `timed_out`."""

    status: str
    source_ref: str | None = None


@domain.event("execution.run.cancelled")
class RunCancelled(_OfRun):
    """A run was asked to stop."""


@domain.event("execution.run.paused")
class RunPaused(_OfRun):
    """A run begins no more steps until it is resumed."""


@domain.event("execution.run.resumed")
class RunResumed(_OfRun):
    """A run goes on: after a pause, a decision, or a crash of the daemon."""

    reason: str


@domain.event("execution.run.forked")
class RunForked(_OfRun):
    """A run was made from another one."""

    forked_from: str


@domain.event("execution.run.changed")
class RunChanged(_OfRun):
    """A run waits, is blocked, needs a decision, or goes on from there."""

    status: str


@domain.event("execution.step.started")
class StepStarted(Event):
    """An attempt at a step began."""

    step: str
    """`<run>/<key>`"""
    run: str
    key: str
    attempt: int


@domain.event("execution.step.finished")
class StepFinished(Event):
    """A step came to its end."""

    step: str
    run: str
    key: str
    status: str


@domain.event("execution.step.waiting")
class StepWaiting(Event):
    """A step waits: for a time, a person, a signal, another run, a resource, or its next attempt."""

    step: str
    run: str
    key: str
    kind: str


@domain.event("execution.approval.requested")
class ApprovalRequested(Event):
    """A person is asked, or must decide what a crash left undecided."""

    approval: str
    """Id of the wait."""
    run: str
    key: str


@domain.event("execution.approval.decided")
class ApprovalDecided(Event):
    """A person decided, or the time to do so was over."""

    approval: str
    run: str
    key: str
    decision: str


@domain.event("execution.signal.received")
class SignalReceived(Event):
    """A run was sent a signal."""

    signal: str
    run: str
    name: str


@domain.event("execution.clock.jumped")
class ClockJumped(Event):
    """The clock on the wall moved other than time went by: the machine slept, or the clock was set."""

    seconds: int
    """Forward when above 0."""
