"""What a run is made of: its steps as they are written, and the table that keeps each definition once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import Duration, Record, Title, Value
from coder_plugins.execution.records import Key, StepKey, Word, domain

STEPS_LIMIT = 2_000
"""Steps that a definition may have."""
EXPANDED_LIMIT = 10_000
"""Steps that one fan-out may become."""
RUN_LIMIT = 100_000
"""Steps that one run may have, those that its fan-outs become among them."""
DEPTH_LIMIT = 16
"""How many runs may stand above each other."""


class Retry(Value):
    """How often a step is tried, and how long is waited between: `first`, then `factor` times as long, up to `cap`."""

    max: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """Attempts in all; 1 is no second one."""
    first: Duration = "PT1S"
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    cap: Duration = "PT100S"
    jitter: Literal["full", "none"] = "full"
    """`full` waits a random part of the time, so that many that failed together do not come back together."""
    on: list[Word] = msgspec.field(default_factory=list[Word])
    """Words of errors that are tried again (`timeout`, `exit`, `connection`, `offline`, ...); empty for all."""


class Condition(Value):
    """A step runs only if a value is what it should be; exactly one of the others is given."""

    value: Any
    """Mostly a reference, `${{ steps.build.output.exit_code }}`."""
    equals: Any = msgspec.UNSET
    not_equals: Any = msgspec.UNSET
    one_of: list[Any] | msgspec.UnsetType = msgspec.UNSET


class Matrix(Value):
    """A fan-out over every combination of some values."""

    axes: dict[Word, list[Any]]
    """By name, in the order in which they stand in a step's key: `{"os": ["linux"], "py": ["3.11"]}`."""
    exclude: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])
    """Combinations that are left out: each that has all the values of one of these."""


class Compensation(Value):
    """What undoes a step, done when the run fails after it; in reverse order of completion."""

    kind: Word
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    timeout: Duration = "PT10M"


class StepSpec(Value):
    """One step as it is written. Values in `input` may be references: `${{ steps.build.output.path }}`."""

    key: Key
    kind: Word
    """`operation`, `command`, `http`, `file_edit`, `timer`, `approval`, `signal`, `sub_run`, `map`, or a plugin's."""
    title: Title | None = None
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What its kind takes; see `execution.kinds`."""
    needs: list[Key] = msgspec.field(default_factory=list[Key])
    """Keys of the steps that must have ended before."""
    join: Literal["all", "any"] | Annotated[int, Meta(ge=1)] = "all"
    """How many of `needs` must have succeeded: all, any, or at least a number."""
    run_if: Literal["success()", "failure()", "always()"] = "success()"
    """Whether it runs when what it needs succeeded, when something before it failed, or in any case."""
    when: Condition | None = None
    """It is skipped unless this holds."""
    foreach: list[Any] | str | None = None
    """One step for each item, which is `${{ item }}` in its input: a list, or a reference to one."""
    matrix: Matrix | None = None
    """One step for each combination, whose values are `${{ matrix.os }}` in its input."""
    max_parallel: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """How many steps of the fan-out run at once."""
    fan_in: Literal["all", "any"] | Annotated[int, Meta(ge=1)] = "all"
    """How many steps of the fan-out must succeed for it to succeed."""
    timeout: Duration = "PT10M"
    """How long one attempt may take, more than 0."""
    queue_timeout: Duration | None = None
    """How long it may stand in the queue before its first attempt."""
    total_timeout: Duration | None = None
    """How long all its attempts together may take, without the waits between them."""
    deadline: Duration | None = None
    """How long it may take from when it began, its waits and retries among it, by the clock on the wall, sleep of the
    machine included."""
    retry: Retry = Retry()
    idempotent: bool = False
    """Whether doing it twice does no more than doing it once: it is then done again after a crash, and nobody asked."""
    on_unknown: Literal["ask", "rerun", "fail", "assume_done"] = "ask"
    """What is done when a crash left it undecided."""
    allow_failure: bool = False
    """Whether the run goes on, and can succeed, though it failed."""
    cache: bool = False
    """Whether an earlier result of the same step with the same input is taken instead of doing it again."""
    resources: list[Word] = msgspec.field(default_factory=list[Word])
    """Names that only one step at a time may hold: a port, a repository."""
    compensate: Compensation | None = None


Steps = Annotated[list[StepSpec], Meta(min_length=1, max_length=STEPS_LIMIT)]
Inputs = dict[str, Any]
Parallel = Annotated[int, Meta(ge=1, le=1_000)]
"""How many steps of one run are ready or run at once."""
PARALLEL = 64


class MapInput(Value):
    """A step of kind `map`: a step for each item of a list; the same as `foreach` on that step."""

    over: list[Any] | str
    """The items, or a reference to them."""
    kind: Word
    """Of each step."""
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """Of each step; `${{ item }}` is its item."""


class Body(Value):
    """What is hashed and kept of a definition: the same content is kept once, and a run is held to it."""

    steps: list[StepSpec]
    parallel: int


@domain.table("definitions", history=False)
class Definition(Record):
    """The steps of runs, kept once for each content; its id is their hash."""

    body: Body


class StepEstimate(Value):
    """How long equal steps took before."""

    key: StepKey
    runs: int
    """How many of them ended well."""
    median_ms: int | None
    """None where there was none."""
    p90_ms: int | None


class Estimate(Value):
    """How long a run may take."""

    steps: list[StepEstimate]
    median_ms: int | None
    """Of the longest way through the steps, each at its median; None if a step on it was never run."""
    p90_ms: int | None
    unknown: list[StepKey]
    """Steps that were never run before."""


class Finding(Value):
    """One thing about a definition that a person should know before it runs."""

    severity: Literal["error", "warning"]
    step: str | None
    """Key of the step, if it is about one."""
    rule: Word
    """`cycle`, `unknown_kind`, `unknown_operation`, `schema`, `reference`, `limit`, `secret`, ..."""
    message: str
    field: str | None = None
    """JSON pointer into the steps."""
    hint: str | None = None


class CheckedStep(Value):
    """What a step is, as its kind sees it."""

    key: str
    safety: str
    effect: str | None
    """None where it hangs on a value that is known only when it runs."""


class Checked(Value):
    """Whether some steps can run."""

    ok: bool
    """No finding is an error."""
    safety: str
    """The worst word of all steps: `read`, `write`, `destructive` or `external`."""
    hash: str
    """Of the content: what is approved, and what a run is held to."""
    findings: list[Finding]
    steps: list[CheckedStep]
    order: list[str]
    """Keys in an order in which they can run; empty when there is a cycle."""


class KindInfo(Value):
    """A kind of step that can be run here."""

    name: str
    summary: str
    input: dict[str, Any]
    """JSON Schema of what it takes."""


class KindList(Value):
    """The kinds of steps, by name."""

    items: list[KindInfo]
