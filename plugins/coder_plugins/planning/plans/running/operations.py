"""What may be asked of an approved plan: run it. Its status follows the run from then on."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from coder_local.api import Conflict, FilePath, Heard, Id, Invalid, Refused, Safety, Transaction, Unsupported, Value
from coder_plugins.planning.plans.operations import version_of
from coder_plugins.planning.plans.records import ENDED, Content, Inputs, Plan, PlanStarted, Status
from coder_plugins.planning.plans.rules import wire
from coder_plugins.planning.records import domain

_ENDS: dict[str, Status] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "timed_out": "failed",
    "cancelled": "cancelled",
}
"""The end of a plan by the end of its run."""


class Execution(Value):
    """A plan that was handed to execution."""

    plan: Plan
    run: str
    """Id of its run; see `execution.runs.get`."""


@domain.command("planning.plans.execute", emits=PlanStarted, safety=Safety.DESTRUCTIVE)
def execute(
    tx: Transaction,
    *,
    id: Id,
    mode: Literal["live", "dry"] = "live",
    folder: FilePath | None = None,
    inputs: Inputs | None = None,
) -> Execution:
    """Run a plan that a person approved as it is now; its steps run with the caller's rights.

    A dry run resolves everything and runs only what reads: it needs no approval, leaves the status alone, and may have
    another `folder` or other `inputs`. A live run takes those of the plan, for they were approved with it; who approved
    its steps agreed to what they do outside this machine, too.
    """
    plan = tx.get(Plan, id)
    if not tx.offers("execution.start"):
        raise Unsupported(
            "plans are run by the plugin execution, which is not there",
            hint="enable the plugin execution",
            data={"plugin": "execution"},
        )
    content = version_of(tx, plan).content
    ref = wire.source_ref(plan.id, plan.version)
    if mode == "dry":
        changes: dict[str, Any] = {} if folder is None else {"folder": folder}
        if inputs is not None:
            changes["inputs"] = {**content.inputs, **inputs}
        return Execution(
            plan=plan,
            run=_start(tx, plan, msgspec.structs.replace(content, **changes), mode=mode, source_ref=f"{ref}/dry"),
        )
    _refuse_unapproved(plan)
    _refuse_other(content, folder, inputs)
    run = _start(tx, plan, content, mode=mode, source_ref=ref, approved_hash=plan.run_hash, external=True)
    running = tx.update(plan, status="running", run=run)
    tx.emit(PlanStarted(plan=plan.id, version=plan.version, run=run))
    return Execution(plan=running, run=run)


@domain.listener("execution.run.started", "execution.run.finished")
def follow_run(tx: Transaction, *, event: Heard) -> None:
    """Bring a plan to the status of its newest run; a retry of a run is a run of the same plan too."""
    source = wire.parse_source(event.data.get("source_ref"))
    plan = None if source is None else tx.find(Plan, source[0])
    if source is None or plan is None or plan.version != source[1]:
        return  # a run of something else, or of a version that was replaced
    run: str = event.data["run"]
    if plan.run is not None and run < plan.run:
        return  # ids rise with time: a later run has taken its place
    status = _ENDS.get(event.data["status"]) if event.type == "execution.run.finished" else "running"
    if status is None or (plan.run == run and plan.status in ENDED):
        return
    tx.update(plan, status=status, run=run)


def _start(tx: Transaction, plan: Plan, content: Content, **given: Any) -> str:
    """Start a run of a content, and return its id. Raises what `execution.start` does, with pointers into the plan."""
    try:
        answer = tx.call("execution.start", **wire.request(content), name=plan.title, kind="plan", **given)
    except Invalid as error:
        raise Invalid(
            error.message,
            field=None if error.field is None else wire.pointer(error.field, content),
            hint="validate the plan to see all that is wrong (planning.plans.validate)",
            data=error.data,
        ) from error
    return str(answer["run"]["id"])


def _refuse_unapproved(plan: Plan) -> None:
    if plan.status == "running":
        raise Conflict("this plan runs already", data={"run": plan.run, "status": plan.status})
    if plan.status != "approved" or plan.approved_hash != plan.content_hash:
        raise Refused(
            f"this plan is {plan.status}, and nobody approved it as it is",
            hint="have a person approve it (planning.plans.approve), or run it dry",
            data={"rule": "approval", "status": plan.status, "content_hash": plan.content_hash},
        )
    if plan.run_hash is None:
        raise Conflict(
            "this plan was validated without the plugin execution, so nobody knows what it would do",
            hint="validate it again (planning.plans.validate), and have it approved",
            data={"status": plan.status},
        )


def _refuse_other(content: Content, folder: str | None, inputs: Inputs | None) -> None:
    """Raise `Refused` for a folder or inputs that are not those of the plan."""
    other = [
        name
        for name, given, own in (("folder", folder, content.folder), ("inputs", inputs, content.inputs))
        if given is not None and given != own
    ]
    if other:
        raise Refused(
            f"the plan was approved with another {' and '.join(other)}",
            field=f"/{other[0]}",
            hint="change the plan (planning.plans.edit) and have it approved, or run it dry",
            data={"rule": "approval"},
        )
