"""Only what a person approved runs, and the plan's status follows its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Conflict, Refused
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.plans.records import Plan
from coder_plugins.planning.plans.rules import wire
from tests.plugins.planning.acceptance import failure
from tests.plugins.planning.plans.conftest import Company, approved, run_to_end, until_end

Create = Callable[..., Any]
MAKE = {"key": "make", "operation": "planning.tasks.create", "input": {"title": "${{ inputs.title }}"}}
FIND = {
    "key": "find",
    "operation": "planning.tasks.get",
    "input": {"id": "${{ steps.make.output.id }}"},
    "needs": ["make"],
}
WAIT = {"key": "wait", "kind": "approval", "input": {"prompt": "Go on?"}}
INPUTS = {"title": "made by a plan"}


async def test_an_approved_plan_runs_and_its_status_follows(box: Sandbox, company: Company, create: Create) -> None:
    id = create(MAKE, FIND, inputs=INPUTS)["id"]
    async with box.running():
        run, status = await run_to_end(box, company, id)
    assert status == "succeeded"
    plan = box.call("planning.plans.get", id=id)
    assert (plan["run"], plan["version"]) == (run, 1)
    assert [task["title"] for task in box.call("planning.tasks.list")["items"]] == ["made by a plan"]
    found = box.call("execution.runs.get", id=run)["run"]
    assert (found["kind"], found["source_ref"]) == ("plan", f"planning.plan/{id}@1")
    assert found["definition"] == plan["run_hash"]
    assert [each.type for each in box.events if each.type == "planning.plan.started"] == ["planning.plan.started"]


def test_nothing_runs_that_nobody_approved(box: Sandbox, create: Create) -> None:
    id = create(MAKE, inputs=INPUTS)["id"]
    failure(box.call, "refused", "planning.plans.execute", id=id)
    box.call("planning.plans.validate", id=id)
    assert failure(box.call, "refused", "planning.plans.execute", id=id)["status"] == "validated"
    approved(box, id)
    for other in ({"inputs": {"title": "other"}}, {"folder": "/"}):
        assert failure(box.call, "refused", "planning.plans.execute", id=id, **other) == {"rule": "approval"}
    box.call("planning.plans.edit", id=id, inputs={"title": "other"})
    failure(box.call, "refused", "planning.plans.execute", id=id)
    assert box.call("execution.runs.list")["items"] == []


def test_a_plan_that_was_validated_without_execution_is_validated_again(box: Sandbox, create: Create) -> None:
    id = approved(box, create(MAKE, inputs=INPUTS)["id"])["id"]
    with box.tx() as tx:
        tx.update(tx.get(Plan, id), run_hash=None)
    with pytest.raises(Conflict, match="nobody knows what it would do"):
        box.call("planning.plans.execute", id=id)


def test_the_run_is_held_to_the_steps_as_they_were_checked(box: Sandbox, create: Create) -> None:
    id = approved(box, create(MAKE, inputs=INPUTS)["id"])["id"]
    with box.tx() as tx:
        tx.update(tx.get(Plan, id), run_hash="0" * 64)
    with pytest.raises(Refused, match="not the steps that were approved"):
        box.call("planning.plans.execute", id=id)
    assert box.call("planning.plans.get", id=id)["status"] == "approved"


async def test_a_dry_run_needs_no_approval_and_leaves_the_status(
    box: Sandbox, company: Company, create: Create, tmp_path: Path
) -> None:
    id = create(MAKE, {"key": "list", "operation": "planning.tasks.list"}, inputs=INPUTS)["id"]
    async with box.running():
        with company.subscribe("execution.run.finished") as events:
            found = box.call("planning.plans.execute", id=id, mode="dry", folder=str(tmp_path), inputs={"title": "x"})
            ended = await anext(events)
        await box.settled()
    assert (ended.data["run"], ended.data["status"]) == (found["run"], "succeeded")
    run = box.call("execution.runs.get", id=found["run"])["run"]
    assert (run["mode"], run["folder"], run["inputs"]) == ("dry", str(tmp_path), {"title": "x"})
    plan = box.call("planning.plans.get", id=id)
    assert (plan["status"], plan["run"]) == ("draft", None)
    assert box.call("planning.tasks.list")["items"] == []


async def test_a_plan_that_runs_is_not_parted_from_its_run(box: Sandbox, company: Company, create: Create) -> None:
    id = create(WAIT)["id"]
    async with box.running():
        approved(box, id)
        run = box.call("planning.plans.execute", id=id)["run"]
        assert failure(box.call, "conflict", "planning.plans.execute", id=id)["run"] == run
        failure(box.call, "conflict", "planning.plans.edit", id=id, parallel=2)
        failure(box.call, "conflict", "planning.plans.refine", id=id, feedback="no")
        failure(box.call, "conflict", "planning.plans.delete", id=id)
        with pytest.raises(Conflict, match="this plan runs"):
            box.undo()
        box.call("execution.runs.cancel", id=run)
        assert await until_end(box, company, id) == "cancelled"
    box.call("planning.plans.delete", id=id)


async def test_one_approval_is_for_one_run(box: Sandbox, company: Company, create: Create) -> None:
    plan = create(MAKE, inputs=INPUTS)
    async with box.running():
        first, _ = await run_to_end(box, company, plan["id"])
        failure(box.call, "refused", "planning.plans.execute", id=plan["id"])
        box.call("planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
        second = box.call("planning.plans.execute", id=plan["id"])["run"]
        assert await until_end(box, company, plan["id"]) == "succeeded"
    assert second > first


async def test_the_end_of_a_run_is_not_taken_back(box: Sandbox, company: Company, create: Create) -> None:
    id = create(MAKE, inputs=INPUTS)["id"]
    async with box.running():
        await run_to_end(box, company, id)
    ending = box.call("planning.plans.history", id=id)["items"][0]
    assert ending["actor"] == "plugin:planning"
    with pytest.raises(Conflict, match="the run of this plan is over"):
        box.undo(ending["change_set"])


async def test_a_retry_of_the_run_is_the_plans_run_from_then_on(
    box: Sandbox, company: Company, create: Create, tmp_path: Path
) -> None:
    write = {"path": "a.txt", "replace": [{"old": "x", "new": "y"}]}
    id = create({"key": "edit", "kind": "file_edit", "input": write}, folder=str(tmp_path))["id"]
    async with box.running():
        run, status = await run_to_end(box, company, id)
        assert status == "failed"
        (tmp_path / "a.txt").write_text("x")
        with company.subscribe("planning.plan.updated") as events:
            newer = box.call("execution.runs.retry", id=run)["run"]["id"]
            while box.call("planning.plans.get", id=id)["run"] != newer:
                await anext(events)
        assert await until_end(box, company, id) == "succeeded"
        await box.settled()
    assert (tmp_path / "a.txt").read_text() == "y"


async def test_the_run_of_a_replaced_version_is_not_followed(
    box: Sandbox, company: Company, create: Create, tmp_path: Path
) -> None:
    edit = {"path": "a.txt", "replace": [{"old": "x", "new": "y"}]}
    id = create({"key": "edit", "kind": "file_edit", "input": edit}, folder=str(tmp_path))["id"]
    async with box.running():
        run, _ = await run_to_end(box, company, id)
        box.call("planning.plans.edit", id=id, parallel=1)
        with company.subscribe("execution.run.finished") as events:
            box.call("execution.runs.retry", id=run)
            await anext(events)
        await box.settled()
    plan = box.call("planning.plans.get", id=id)
    assert (plan["status"], plan["version"], plan["run"]) == ("draft", 2, None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("planning.plan/abc@12", ("abc", 12)),
        ("planning.plan/abc@1/dry", None),
        ("planning.plan/@1", None),
        ("workflow/abc@1", None),
        (None, None),
    ],
)
def test_a_run_is_known_by_its_source(text: str | None, found: tuple[str, int] | None) -> None:
    assert wire.parse_source(text) == found
