"""What may be asked before a plan runs: whether it can, and a person's approval of exactly what it does."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coder_local.api import Conflict, Id, Refused, Transaction, Value
from coder_plugins.planning.plans.operations import version_of
from coder_plugins.planning.plans.records import ENDED, Plan, PlanApproved, PlanFinding, PlanValidated
from coder_plugins.planning.records import domain

from .records import SeenStep, check_up

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
_KEPT = 200


class Validation(Value):
    """What was found out about a plan."""

    plan: Plan
    ok: bool
    """No finding is an error."""
    findings: list[PlanFinding]
    """Errors first."""
    safety: str | None
    """The worst word of all steps: `read`, `write`, `destructive` or `external`; None if it could not be checked."""
    steps: list[SeenStep]
    time_ms: int | None
    """How long the longest way through the steps takes, without those that nothing is known of; None for all."""
    unknown: list[str]
    """Keys of the steps whose time nobody knows."""


@domain.command("planning.plans.validate", emits=PlanValidated)
def validate(tx: Transaction, *, id: Id) -> Validation:
    """Check whether a plan can run, and tell all that is wrong or doubtful at once. Nothing is started.

    Its needs go round in no ring, its kinds of steps and operations exist, its inputs fit their schemas, what a step
    refers to is made before it, no step calls itself milder than it is, and time and money are within the budget. A
    draft without errors becomes `validated`; an approval that does not hold any more is taken back. Without the plugin
    execution only the order of the steps is checked, and a finding says so.
    """
    plan = tx.get(Plan, id)
    found = check_up(tx, version_of(tx, plan).content)
    ok = all(each.severity != "error" for each in found.findings)
    tx.emit(PlanValidated(plan=plan.id, version=plan.version, ok=ok))
    kept = found.findings[:_KEPT]
    stands = plan.status == "approved" and ok and found.hash == plan.run_hash
    if stands or plan.status == "running" or plan.status in ENDED:
        plan = tx.update(plan, findings=kept)
    else:
        plan = tx.update(
            plan,
            status="validated" if ok else "draft",
            findings=kept,
            run_hash=found.hash,
            approved_by=None,
            approved_at=None,
            approved_hash=None,
        )
    return Validation(
        plan=plan,
        ok=ok,
        findings=found.findings,
        safety=found.safety,
        steps=found.steps,
        time_ms=found.time_ms,
        unknown=found.unknown,
    )


@domain.command("planning.plans.approve", emits=PlanApproved, person_only=True)
def approve(tx: Transaction, *, id: Id, content_hash: Hash) -> Plan:
    """Approve exactly what a plan does, for one run. `content_hash` is that of the version that the person has read.

    Any change of the plan voids it. A plan whose run is over is approved anew to be run again.
    """
    plan = tx.get(Plan, id)
    if content_hash != plan.content_hash:
        raise Refused(
            f"the plan was changed: it is at version {plan.version} now",
            field="/content_hash",
            hint="look at it as it is now (planning.plans.show), then approve that",
            data={"rule": "approval", "content_hash": plan.content_hash, "version": plan.version},
        )
    if plan.status == "approved":
        return plan
    if plan.status in {"draft", "running"}:
        hint = (
            "validate it first (planning.plans.validate)" if plan.status == "draft" else "wait for the end of its run"
        )
        raise Conflict(f"this plan is {plan.status}", hint=hint, data={"status": plan.status})
    approved = tx.update(
        plan, status="approved", approved_by=tx.actor, approved_at=tx.now(), approved_hash=plan.content_hash
    )
    tx.emit(PlanApproved(plan=plan.id, version=plan.version, content_hash=plan.content_hash))
    return approved
