"""What may be asked after a plan met the world: a new version that answers feedback or a failed run."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from coder_local.api import Conflict, Id, Invalid, Markdown, NotFound, Transaction, Value
from coder_plugins.planning.plans.operations import Difference, compare, revise, version_of
from coder_plugins.planning.plans.records import Plan, PlanDrafted, PlanStep, PlanVersion, Steps
from coder_plugins.planning.plans.rules.wire import SOURCE
from coder_plugins.planning.records import domain

_FAILED = frozenset({"failed", "timed_out", "cancelled"})


class Remark(Value):
    """What was done about something, or why nothing was."""

    step: str | None
    """Key of the step that failed; None for the feedback."""
    word: str
    """How it failed, as execution calls it: `timeout`, `exit`, ...; or `feedback`."""
    message: str


class Refinement(Value):
    """A new version of a plan, and how it differs from the one before."""

    plan: Plan
    version: PlanVersion
    difference: Difference
    remarks: list[Remark]


@domain.command("planning.plans.refine", emits=PlanDrafted)
def refine(
    tx: Transaction,
    *,
    id: Id,
    feedback: Markdown | None = None,
    run: Id | None = None,
    steps: Steps | None = None,
) -> Refinement:
    """Make a new version of a plan after feedback or a failed run, and tell how it differs, step by step.

    It is a draft, and no approval carries over. With `steps` those are the new version. Without them a failed run is
    answered by rule: a step that ran out of time gets twice the time, a program that was not found is asked for, what
    failed for a moment is tried again; `remarks` tell of each failure what was done, or that nothing was. Feedback is
    kept with the version for whoever writes the steps; without them it changes none. A plan that failed takes its own
    run when nothing is given.
    """
    plan = tx.get(Plan, id)
    if run is None and feedback is None and steps is None:
        run = _own_run(plan)
    old = version_of(tx, plan)
    failures = None if run is None else _failed_steps(tx, plan, run)
    remarks: list[Remark] = []
    made = steps
    if made is None and failures is not None:
        made, remarks = _repaired(old.content.steps, failures)
    if feedback is not None and steps is None:
        kept = "it is kept with this version; no step follows from it by itself: give steps"
        remarks.append(Remark(step=None, word="feedback", message=kept))
    content = old.content if made is None else msgspec.structs.replace(old.content, steps=made)
    by_rule = steps is None and content != old.content
    reason: Literal["edit", "feedback", "failed run"] = (
        "failed run" if run is not None else "feedback" if feedback is not None else "edit"
    )
    maker = "rules" if by_rule else old.maker if steps is None else "hand"
    new = revise(tx, plan, content, maker=maker, reason=reason, feedback=feedback, run=run)
    return Refinement(plan=new.plan, version=new.version, difference=compare(old.content, content), remarks=remarks)


def _own_run(plan: Plan) -> str:
    if plan.status in {"failed", "cancelled"} and plan.run is not None:
        return plan.run
    raise Invalid(
        "there is nothing to refine it by",
        field="/feedback",
        hint="give feedback, the id of a failed run, or the new steps",
        data={"status": plan.status},
    )


def _failed_steps(tx: Transaction, plan: Plan, id: str) -> list[dict[str, Any]]:
    """Return the failed steps of a run of this plan. Raises a named error for a run of something else or a good end."""
    try:
        found = tx.call("execution.runs.get", id=id, limit=500)
    except NotFound as error:
        raise NotFound(error.message, field="/run", hint=error.hint) from error
    run = found["run"]
    if not (run["source_ref"] or "").startswith(f"{SOURCE}{plan.id}@"):
        raise Invalid("this is no run of this plan", field="/run", hint="see execution.runs.list")
    if run["status"] not in _FAILED:
        raise Conflict(
            f"this run is {run['status']}",
            field="/run",
            hint="refine by feedback, or wait for its end",
            data={"run": id, "status": run["status"]},
        )
    steps = list(found["steps"])
    while found["next_cursor"] is not None:
        found = tx.call("execution.runs.get", id=id, limit=500, cursor=found["next_cursor"])
        steps += found["steps"]
    return [step for step in steps if step["status"] == "failed" and step["error"] is not None]


def _repaired(steps: list[PlanStep], failed: list[dict[str, Any]]) -> tuple[list[PlanStep], list[Remark]]:
    from coder_plugins.planning.plans.rules.repairs import Failure, repair  # noqa: PLC0415 - with the templates, which most starts do not need

    failures = [
        Failure(step["parent"] or step["key"], step["error"]["word"], step["error"]["message"])
        for step in failed
        if step["role"] in {"step", "item"}  # a fan-out fails because of its items, which are here themselves
    ]
    made, told = repair(steps, failures)
    return made, [Remark(step=each.key, word=each.word, message=each.text) for each in told]
