"""What is kept of plans and their versions, what is said of them, and what must hold for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import (
    Conflict,
    Duration,
    Event,
    Fault,
    FilePath,
    Id,
    Instant,
    Markdown,
    Money,
    Record,
    Safety,
    Title,
    Transaction,
    Value,
)
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import Name, changed, domain, refuse

STEPS_LIMIT = 2_000
"""Steps that a plan may have; as many as execution takes."""
PARALLEL = 64
"""How many steps of a plan run at once, unless it says otherwise."""

StepKey = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$(?!\n)")]
"""What a step is called in its plan: letters, digits, `_`, `.` and `-`, 1 to 64 characters."""

KindWord = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$(?!\n)")]
"""A kind of step, as execution knows it: `operation`, `command`, `http`, `file_edit`, `approval`, ..."""

Status = Literal["draft", "validated", "approved", "running", "succeeded", "failed", "cancelled"]
"""draft -> validated -> approved -> running -> succeeded, failed or cancelled; a new version is a draft again."""

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class PlanStep(Value):
    """One step of a plan. Values in `input` may be references, `${{ steps.build.output.path }}`."""

    key: StepKey
    title: Title | None = None
    kind: KindWord = "operation"
    operation: Annotated[str, Meta(min_length=3, max_length=200)] | None = None
    """Of kind `operation`: the full name of the operation, whose input is `input`."""
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What its kind takes, or its operation."""
    needs: list[StepKey] = msgspec.field(default_factory=list[StepKey])
    """Keys of the steps that must have ended before."""
    safety: Safety | None = None
    """The word on its danger that its maker thinks right; validation holds it against the true one."""
    estimate: Duration | None = None
    """How long it takes, as its maker thinks; what such steps really took goes before it."""
    cost: Money | None = None
    """What it costs at most, as its maker thinks."""
    expect: Markdown | None = None
    """What should be true after it, for the person who reads the plan."""
    options: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """Other fields of a step, handed on to execution as they are: `timeout`, `retry`, `foreach`, `when`, ..."""


Steps = Annotated[list[PlanStep], Meta(min_length=1, max_length=STEPS_LIMIT)]
Inputs = dict[str, Any]
Parallel = Annotated[int, Meta(ge=1, le=1_000)]
Maker = Annotated[str, Meta(min_length=1, max_length=100)]
"""Who made a version: `template:<name>`, `checklist`, `rules` (after a failed run), or `hand`."""


class Content(Value):
    """All that a plan does, and what its hash is taken of: who approves, approves exactly this."""

    steps: Steps
    inputs: Inputs = msgspec.field(default_factory=Inputs)
    """Values that steps refer to, as `${{ inputs.name }}`."""
    folder: FilePath | None = None
    """The folder it works in."""
    parallel: Parallel = PARALLEL
    budget_time: Duration | None = None
    """How long it may take, as estimated; a plan that takes longer does not pass validation."""
    budget_money: Money | None = None
    """What it may cost, as estimated."""


class PlanFinding(Value):
    """One thing about a plan that a person should know before it runs."""

    severity: Literal["error", "warning"]
    step: str | None
    """Key of the step, if it is about one."""
    rule: str
    """`unknown_operation`, `cycle`, `schema`, `safety`, `over_budget`, `spends_without_approval`, ..."""
    message: str
    field: str | None = None
    """JSON pointer into the content of the plan, `/steps/0/operation`."""
    fix: str | None = None
    """What puts it right."""


@domain.table(
    "plans",
    indexes=(("project",),),
    read_only=(
        "status",
        "version",
        "content_hash",
        "maker",
        "run_hash",
        "findings",
        "approved_by",
        "approved_at",
        "approved_hash",
        "run",
    ),
)
class Plan(Record):
    """What is to be done, and how far it is; its steps stand in its versions."""

    title: Title
    goal: Markdown
    project: Id | None = None
    status: Status = "draft"
    version: Annotated[int, Meta(ge=1)] = 1
    """The newest; raised by each change of what the plan does."""
    content_hash: str = ""
    """SHA-256 of the content of that version."""
    maker: Maker = "hand"
    """Who made that version."""
    run_hash: str | None = None
    """The hash that execution gave its steps when they were validated: the run is held to it."""
    findings: list[PlanFinding] = msgspec.field(default_factory=list[PlanFinding])
    """What the last validation found, errors first, at most 200."""
    approved_by: Name | None = None
    approved_at: Instant | None = None
    approved_hash: str | None = None
    """What was approved; it is worth something only as long as it is the hash of the content."""
    run: Id | None = None
    """The newest run of this version."""


@domain.table("plan_versions", unique=(("plan", "version"),))
class PlanVersion(Record):
    """What a plan was to do at one time. It never changes."""

    plan: Id
    version: int
    content: Content
    content_hash: str
    maker: Maker
    reason: Literal["made", "edit", "feedback", "failed run"]
    feedback: Markdown | None = None
    """What a person said of the version before."""
    run: Id | None = None
    """The failed run that it answers."""


plans = domain.standard(
    Plan,
    operations=("list", "get", "update", "delete", "history"),  # made by planning.plans.create and .generate
    filters=("status", "project"),
    references={"project": Project},
    sort=("updated_at",),
    search=("title", "goal"),
)
versions = domain.standard(PlanVersion, operations=("list", "get"), filters=("plan",), references={"plan": Plan})


@domain.event("planning.plan.drafted")
class PlanDrafted(Event):
    """A plan was made, or got a new version."""

    plan: str
    version: int


@domain.event("planning.plan.validated")
class PlanValidated(Event):
    """A plan was checked."""

    plan: str
    version: int
    ok: bool
    """Whether nothing was found that keeps it from running."""


@domain.event("planning.plan.approved")
class PlanApproved(Event):
    """A person approved exactly this content of a plan."""

    plan: str
    version: int
    content_hash: str


@domain.event("planning.plan.started")
class PlanStarted(Event):
    """An approved plan was handed to execution."""

    plan: str
    version: int
    run: str


@domain.rule(Plan)
def check_plan(tx: Transaction, before: Plan | None, after: Plan) -> None:
    """Refuse what would part a plan from its run, an approval of something else, and a project that is not there."""
    if before is not None and before.status == "running":
        _refuse_parting(before, after)
    if before is not None and before.status in ENDED and after.status == "running" and after.run == before.run:
        raise Conflict(f"the run of this plan is over: it {_was(before.status)}", data={"run": before.run})
    if after.deleted_at is not None:
        return
    if after.status in {"approved", "running"} and after.approved_hash != after.content_hash:
        raise Conflict(
            "what was approved is not what the plan does now",
            field="/approved_hash",
            hint="have it approved as it is (planning.plans.approve)",
            data={"content_hash": after.content_hash},
        )
    if after.project is not None and changed(before, after, "project"):
        sql = "SELECT 1 FROM planning_projects WHERE id = :id AND deleted_at IS NULL"
        if not tx.rows(sql, id=after.project):
            hint = "look ids up with planning.projects.list"
            refuse([Fault("/project", f"there is no project with id {after.project!r}", hint)])


@domain.rule(PlanVersion)
def check_version(tx: Transaction, before: PlanVersion | None, after: PlanVersion) -> None:  # noqa: ARG001
    """Refuse to change a version that was written: an approval and a run point to it."""
    if before is not None and changed(before, after, "plan", "version", "content", "content_hash", "maker", "reason"):
        raise Conflict(
            f"version {before.version} of a plan never changes", hint="make a new one with planning.plans.edit"
        )


def _refuse_parting(before: Plan, after: Plan) -> None:
    gone = after.deleted_at is not None
    if gone or after.status in {"draft", "validated", "approved"} or after.version != before.version:
        raise Conflict(
            "this plan runs",
            field="/status",
            hint="wait for the end of its run, or cancel that (execution.runs.cancel)",
            data={"run": before.run, "status": before.status},
        )


def _was(status: str) -> str:
    return "was cancelled" if status == "cancelled" else status
