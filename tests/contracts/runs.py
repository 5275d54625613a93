"""A domain that uses everything a declaration may: for tests of what is derived from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local._contracts.schemas import Model
from coder_local._registry.kernel import Kernel
from coder_local._registry.registry import Registry
from coder_local.api import (
    Context,
    Domain,
    Duration,
    Event,
    Id,
    Instant,
    LocalDate,
    Money,
    Page,
    Record,
    Safety,
    Settings,
    Snapshot,
    Title,
    Transaction,
    Value,
    ZonedTime,
)

domain = Domain("runs")

RunState = Literal["queued", "running", "paused", "succeeded", "failed"]
"""How far a run has come."""


class OnFailure(StrEnum):
    """What a step does when it fails."""

    STOP = "stop"
    SKIP = "skip"
    RETRY = "retry"


class Estimate(Value):
    """Working time."""

    low: Duration
    likely: Duration
    high: Duration


class StepSpec(Value):
    """One step of a run."""

    operation: str
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    on_failure: OnFailure = OnFailure.STOP


class Failed(msgspec.Struct, tag="failed", omit_defaults=True):
    """It went wrong."""

    message: str
    exit_code: int | msgspec.UnsetType = msgspec.UNSET
    """Missing when the process did not end by itself."""


class Succeeded(msgspec.Struct, tag="succeeded"):
    """It went well."""

    output: msgspec.Raw


class Node(Value):
    """A step and those behind it."""

    text: str
    behind: list[Node] = msgspec.field(default_factory=list)


@domain.table("runs", indexes=(("state",),), read_only=("state", "results"))
class Run(Record):
    """A series of steps that survives a restart."""

    title: Title
    state: RunState = "queued"
    estimate: Estimate | None = None
    steps: list[StepSpec] = msgspec.field(default_factory=list)
    results: list[Failed | Succeeded] = msgspec.field(default_factory=list)
    position: tuple[int, int] | None = None
    """Line and column."""
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    tree: Node | None = None


class OutputLine(Value):
    """One line of output."""

    at: Instant
    channel: Literal["stdout", "stderr"]
    text: str


@domain.settings
class RunSettings(Settings):
    """How runs behave."""

    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    """Steps at the same time."""


domain.standard(
    Run, operations=("list", "get", "create", "update", "delete", "history"), filters=("state",), sort=("title",)
)


@domain.event("runs.run.paused")
class RunPaused(Event):
    """A run was paused."""

    run: str
    reason: str


@domain.command("runs.start", emits=RunPaused)
def start(
    tx: Transaction,
    *,
    title: Title,
    steps: list[StepSpec],
    estimate: Estimate | None = None,
    due: LocalDate | None = None,
    cost: Money | None = None,
    meeting: ZonedTime | None = None,
    tree: Node | None = None,
) -> Run:
    """Start a run.

    The answer comes as soon as the run is kept, long before it ends; follow it with `runs.follow`. Raises
    `conflict` for an operation that does not exist.
    """
    return tx.insert(Run(title=title, steps=steps, estimate=estimate, tree=tree))


@domain.command("runs.steps.retry", person_only=True)
def retry(tx: Transaction, *, id: Id, at: Instant | None = None) -> None:
    """Try one step again."""


@domain.query("runs.index")
def index(
    read: Snapshot, *, q: Annotated[str, Meta(min_length=1, max_length=200, description="Text to find.")]
) -> list[str]:
    """Find runs by their output."""
    return [run.title for run in read.select(Run, "title = :q", q=q)]


@domain.action("runs.index.rebuild", safety=Safety.DESTRUCTIVE)
async def rebuild(ctx: Context) -> None:
    """Read all output again."""


@domain.action("runs.share")
async def share(ctx: Context, *, id: Id, tags: set[str], shares: list[Annotated[float, Meta(gt=0, le=1)]] = []) -> bool:  # noqa: B006
    """Send a run to somebody."""
    return True


@domain.query("runs.status")
def status(read: Snapshot) -> dict[str, int]:
    """Count the runs of each state."""
    return {"queued": len(read.select(Run))}


@domain.query("runs.plan")
def plan(read: Snapshot, *, spec: StepSpec, more: list[StepSpec] | None = None, deep: bool = False) -> Page[Node]:
    """Say what a run would do."""
    return Page(items=[Node(text=spec.operation, behind=[Node(text="end")])])


@domain.stream("runs.follow")
async def follow(
    ctx: Context, *, id: Id, channel: Literal["stdout", "stderr"] | None = None
) -> AsyncIterator[OutputLine]:
    """Follow the output of a run until it ends."""
    yield OutputLine(at=ctx.now(), channel="stdout", text="done")


def kernel_of(*domains: Domain) -> Kernel:
    """Return a kernel with some domains and nothing else."""
    kernel = Kernel()
    for each in domains:
        plugin = kernel.take(each)
        assert plugin.loaded, plugin.reason
    return kernel


def registry() -> Registry:
    """Return a registry with this domain and nothing else."""
    return kernel_of(domain).registry


def model() -> Model:
    """Return the schemas of this domain."""
    return Model(registry())
