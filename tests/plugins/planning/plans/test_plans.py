"""Plans and their versions: what changes make a new one, what is told of the difference, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coder_local.api import Conflict
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.plans.records import Content, Plan, PlanVersion
from tests.plugins.planning.acceptance import failure

Create = Callable[..., Any]
MAKE = {"key": "make", "operation": "planning.tasks.create", "input": {"title": "one"}}
LIST = {"key": "list", "operation": "planning.tasks.list", "needs": ["make"]}


def test_a_plan_begins_as_a_draft_with_its_steps_in_version_1(box: Sandbox, create: Create) -> None:
    plan = create(MAKE, LIST, folder="/")
    assert (plan["status"], plan["version"], plan["maker"]) == ("draft", 1, "hand")
    shown = box.call("planning.plans.show", id=plan["id"])
    assert shown["plan"] == plan
    assert [step["key"] for step in shown["version"]["content"]["steps"]] == ["make", "list"]
    assert shown["version"]["content"]["folder"] == "/"
    assert box.events[-1].type == "planning.plan.drafted"
    assert box.events[-1].data == {"plan": plan["id"], "version": 1}


def test_equal_content_has_equal_hashes_and_any_difference_another(create: Create) -> None:
    hashes = [create(MAKE)["content_hash"], create(dict(reversed(MAKE.items())), title="Other")["content_hash"]]
    hashes += [create(MAKE, parallel=2)["content_hash"], create(MAKE, inputs={"a": 1})["content_hash"]]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_an_edit_is_a_new_version_that_nobody_approved(box: Sandbox, create: Create) -> None:
    id = create(MAKE, LIST)["id"]
    hash_ = box.call("planning.plans.validate", id=id)["plan"]["content_hash"]
    approved = box.call("planning.plans.approve", id=id, content_hash=hash_)
    assert (approved["status"], approved["approved_by"], approved["approved_hash"]) == ("approved", "user", hash_)
    edited = box.call("planning.plans.edit", id=id, steps=[{**MAKE, "input": {"title": "two"}}], folder="/")["plan"]
    assert (edited["status"], edited["version"], edited["approved_hash"]) == ("draft", 2, None)
    assert edited["content_hash"] != hash_
    assert box.call("planning.plans.diff", id=id) == {
        "kept": [],
        "changed": [{"key": "make", "fields": ["input.title"]}],
        "added": [],
        "removed": ["list"],
        "plan": ["folder"],
    }
    assert box.call("planning.plans.show", id=id, version=1)["version"]["content_hash"] == hash_
    assert failure(box.call, "not_found", "planning.plans.show", id=id, version=3) == {}


def test_an_edit_without_a_difference_writes_nothing(box: Sandbox, create: Create) -> None:
    plan = create(MAKE, folder="/")
    assert box.call("planning.plans.edit", id=plan["id"], steps=[MAKE])["plan"] == plan
    dropped = box.call("planning.plans.edit", id=plan["id"], drop=["folder"])
    assert (dropped["plan"]["version"], dropped["version"]["content"]["folder"]) == (2, None)
    failure(box.call, "invalid", "planning.plans.edit", id=plan["id"], folder="/", drop=["folder"])


def test_title_and_goal_are_no_part_of_what_a_plan_does(box: Sandbox, create: Create) -> None:
    plan = create(MAKE)
    named = box.call("planning.plans.update", id=plan["id"], title="Better", if_rev=plan["rev"])
    assert (named["title"], named["version"], named["content_hash"]) == ("Better", 1, plan["content_hash"])


@pytest.mark.parametrize("field", ["status", "version", "content_hash", "approved_by", "approved_hash", "run"])
def test_no_update_sets_what_the_verbs_set(box: Sandbox, create: Create, field: str) -> None:
    plan = create(MAKE)
    failure(box.call, "invalid", "planning.plans.update", id=plan["id"], **{field: "approved"})


def test_steps_that_contradict_themselves_are_refused_all_at_once(box: Sandbox, create: Create) -> None:
    with pytest.raises(Exception, match="3 things are wrong") as caught:
        create(MAKE, {**MAKE, "kind": "command", "options": {"needs": []}})
    faults: Any = caught.value
    fields = [fault["field"] for fault in faults.data["faults"]]
    assert fields == ["/steps/1/key", "/steps/1/operation", "/steps/1/options/needs"]


def test_a_version_never_changes_on_any_way_of_writing(box: Sandbox, create: Create) -> None:
    plan = create(MAKE)
    with box.tx() as tx, pytest.raises(Conflict, match="version 1 of a plan never changes"):
        (version,) = tx.select(PlanVersion, "plan = :plan", plan=plan["id"])
        tx.update(version, content=Content(steps=version.content.steps, parallel=1))


def test_no_way_of_writing_approves_other_content(box: Sandbox, create: Create) -> None:
    plan = create(MAKE)
    with box.tx() as tx, pytest.raises(Conflict, match="what was approved is not what the plan does now"):
        tx.update(tx.get(Plan, plan["id"]), status="approved", approved_hash="0" * 64)


def test_undo_takes_an_edit_back_with_its_version(box: Sandbox, create: Create) -> None:
    plan = create(MAKE)
    box.call("planning.plans.edit", id=plan["id"], parallel=3)
    box.undo()
    again = box.call("planning.plans.show", id=plan["id"])
    assert (again["plan"]["version"], again["version"]["content"]["parallel"]) == (1, 64)
    assert box.call("planning.plan_versions.list", plan=plan["id"])["items"] == [again["version"]]
    assert box.call("planning.plans.edit", id=plan["id"], parallel=4)["plan"]["version"] == 2


def test_a_plan_belongs_to_an_open_project(box: Sandbox, create: Create) -> None:
    project = box.call("planning.projects.create", name="P", key="PP")
    plan = create(MAKE, project="PP")
    assert plan["project"] == project["id"]
    assert [each["id"] for each in box.call("planning.plans.list", project="PP")["items"]] == [plan["id"]]
    failure(box.call, "invalid", "planning.plans.update", id=plan["id"], project="nowhere")
