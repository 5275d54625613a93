"""What may be asked of plans: write one by hand, change what it does, look at it, and hold two versions together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import (
    Conflict,
    Duration,
    Fault,
    FilePath,
    Id,
    Markdown,
    Money,
    NotFound,
    Snapshot,
    Title,
    Transaction,
    Value,
)
from coder_plugins.planning.records import Reference, domain, refuse
from coder_plugins.planning.tasks.finding.operations import project_to_join

from .records import (
    PARALLEL,
    Content,
    Inputs,
    Parallel,
    Plan,
    PlanDrafted,
    PlanStep,
    PlanVersion,
    Steps,
)
from .rules import difference as differences
from .rules.hashing import content_hash
from .rules.wire import OWN

VersionNumber = Annotated[int, Meta(ge=1)]


class PlanView(Value):
    """A plan, and one version of what it does."""

    plan: Plan
    version: PlanVersion


class ChangedStep(Value):
    """A step that differs."""

    key: str
    fields: list[str]
    """What differs: `needs`, `input.path`."""


class Difference(Value):
    """How two versions of a plan differ."""

    kept: list[str]
    """Keys of the steps that are the same."""
    changed: list[ChangedStep]
    added: list[str]
    removed: list[str]
    plan: list[str]
    """What differs beside the steps: `folder`, `inputs.path`, `budget_time`."""


@domain.command("planning.plans.create", emits=PlanDrafted)
def create(
    tx: Transaction,
    *,
    title: Title,
    goal: Markdown,
    steps: Steps,
    project: Reference | None = None,
    inputs: Inputs | None = None,
    folder: FilePath | None = None,
    parallel: Parallel = PARALLEL,
    budget_time: Duration | None = None,
    budget_money: Money | None = None,
) -> PlanView:
    """Write down a plan. Nothing of it is checked or started; `planning.plans.validate` is next.

    A step is short, `{key, operation, input, needs}`, or of another kind, `{key, kind: "command", input: {...}}`; what
    else execution takes of a step (`timeout`, `foreach`, ...) stands in its `options`.
    """
    content = Content(
        steps=steps,
        inputs=inputs or {},
        folder=folder,
        parallel=parallel,
        budget_time=budget_time,
        budget_money=budget_money,
    )
    return draft(tx, content, title=title, goal=goal, project=project, maker="hand")


@domain.command("planning.plans.edit", emits=PlanDrafted)
def edit(
    tx: Transaction,
    *,
    id: Id,
    steps: Steps | None = None,
    inputs: Inputs | None = None,
    folder: FilePath | None = None,
    parallel: Parallel | None = None,
    budget_time: Duration | None = None,
    budget_money: Money | None = None,
    drop: list[Literal["folder", "budget_time", "budget_money"]] | None = None,
) -> PlanView:
    """Change what a plan does: a new version, a draft again, whose approval is void. What is not given stays.

    `drop` takes away what can be left out. Title, goal and project are no part of that: `planning.plans.update`.
    Nothing is written if nothing differs.
    """
    plan = tx.get(Plan, id)
    old = version_of(tx, plan)
    given: dict[str, Any] = {
        "steps": steps,
        "inputs": inputs,
        "folder": folder,
        "parallel": parallel,
        "budget_time": budget_time,
        "budget_money": budget_money,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if both := [name for name in drop or () if name in changes]:
        refuse([Fault("/drop", f"{name} is given and dropped", "do one of them") for name in both])
    content = msgspec.structs.replace(old.content, **changes, **dict.fromkeys(drop or ()))
    if content == old.content:
        return PlanView(plan=plan, version=old)
    return revise(tx, plan, content, maker="hand", reason="edit")


@domain.query("planning.plans.show")
def show(read: Snapshot, *, id: Id, version: VersionNumber | None = None) -> PlanView:
    """Return a plan with its steps as they are now, or as they were in an earlier version."""
    plan = read.get(Plan, id)
    return PlanView(plan=plan, version=version_of(read, plan, version))


@domain.query("planning.plans.diff")
def diff(
    read: Snapshot, *, id: Id, earlier: VersionNumber | None = None, later: VersionNumber | None = None
) -> Difference:
    """Return how two versions of a plan differ, step by step; without numbers the newest two."""
    plan = read.get(Plan, id)
    second = version_of(read, plan, later, "later")
    first = version_of(read, plan, max(second.version - 1, 1) if earlier is None else earlier, "earlier")
    return compare(first.content, second.content)


def draft(
    tx: Transaction, content: Content, *, title: str, goal: str, maker: str, project: str | None = None
) -> PlanView:
    """Insert a plan with its first version."""
    refuse_steps(content.steps)
    hash_ = content_hash(content)
    owner = None if project is None else project_to_join(tx, project).id
    plan = tx.insert(Plan(title=title, goal=goal, project=owner, content_hash=hash_, maker=maker))
    version = tx.insert(
        PlanVersion(plan=plan.id, version=1, content=content, content_hash=hash_, maker=maker, reason="made")
    )
    tx.emit(PlanDrafted(plan=plan.id, version=1))
    return PlanView(plan=plan, version=version)


def revise(
    tx: Transaction,
    plan: Plan,
    content: Content,
    *,
    maker: str,
    reason: Literal["edit", "feedback", "failed run"],
    feedback: str | None = None,
    run: str | None = None,
) -> PlanView:
    """Give a plan a new version. Raises `Conflict` while it runs."""
    if plan.status == "running":
        raise Conflict(
            "this plan runs",
            hint="wait for the end of its run, or cancel that (execution.runs.cancel)",
            data={"run": plan.run, "status": plan.status},
        )
    refuse_steps(content.steps)
    hash_, number = content_hash(content), plan.version + 1
    version = tx.insert(
        PlanVersion(
            plan=plan.id,
            version=number,
            content=content,
            content_hash=hash_,
            maker=maker,
            reason=reason,
            feedback=feedback,
            run=run,
        )
    )
    newer = tx.update(
        plan,
        status="draft",
        version=number,
        content_hash=hash_,
        maker=maker,
        run_hash=None,
        findings=[],
        approved_by=None,
        approved_at=None,
        approved_hash=None,
        run=None,
    )
    tx.emit(PlanDrafted(plan=plan.id, version=number))
    return PlanView(plan=newer, version=version)


def version_of(read: Snapshot, plan: Plan, number: int | None = None, field: str = "version") -> PlanVersion:
    """Return a version of a plan, the newest without a number. Raises `NotFound` naming `field`."""
    wanted = plan.version if number is None else number
    found = read.select(PlanVersion, "plan = :plan AND version = :version", plan=plan.id, version=wanted)
    if not found:
        hint = f"it has versions 1 to {plan.version}"
        raise NotFound(f"this plan has no version {wanted}", field=f"/{field}", hint=hint)
    return found[0]


def compare(earlier: Content, later: Content) -> Difference:
    """Return how two contents differ, step by step."""
    first, second = msgspec.to_builtins(earlier), msgspec.to_builtins(later)
    found = differences.difference(first.pop("steps"), second.pop("steps"))
    return Difference(
        kept=found.kept,
        changed=[ChangedStep(key=key, fields=fields) for key, fields in found.changed.items()],
        added=found.added,
        removed=found.removed,
        plan=differences.fields(first, second),
    )


def refuse_steps(steps: list[PlanStep]) -> None:
    """Raise `Invalid` for steps that no difference could tell apart, or whose fields contradict each other."""
    keys = [step.key for step in steps]
    faults: list[Fault] = []
    for index, step in enumerate(steps):
        field = f"/steps/{index}"
        if step.key in keys[:index]:
            faults.append(Fault(f"{field}/key", f"two steps are called {step.key}", "give each a key of its own"))
        if step.operation is not None and step.kind != "operation":
            hint = "leave kind out, or operation"
            faults.append(Fault(f"{field}/operation", f"a step of kind {step.kind} has no operation", hint))
        faults += [
            Fault(f"{field}/options/{name}", f"{name} is no option", f"write it as {name} of the step itself")
            for name in OWN & step.options.keys()
        ]
    refuse(faults)
