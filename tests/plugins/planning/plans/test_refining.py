"""New versions after feedback and after failed runs, and how they differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.testing.memory import Sandbox
from coder_plugins.planning.plans.records import PlanStep
from coder_plugins.planning.plans.rules.difference import difference
from coder_plugins.planning.plans.rules.repairs import Failure, repair
from tests.plugins.planning.acceptance import failure
from tests.plugins.planning.plans.conftest import Company, run_to_end

Create = Callable[..., Any]
S1 = {"key": "s1", "operation": "planning.tasks.create", "input": {"title": "one"}}
S2 = {"key": "s2", "operation": "planning.tasks.list", "needs": ["s1"]}


def s3(path: str) -> dict[str, Any]:
    edit = {"path": path, "replace": [{"old": "x", "new": "y"}]}
    return {"key": "s3", "kind": "file_edit", "input": edit, "needs": ["s2"]}


S3B = {"key": "s3b", "operation": "planning.tasks.list", "needs": ["s3"]}


async def test_example_15_after_a_failed_run(box: Sandbox, company: Company, create: Create, tmp_path: Path) -> None:
    (tmp_path / "right.txt").write_text("x")
    id = create(S1, S2, s3("wrong.txt"), folder=str(tmp_path))["id"]
    async with box.running():
        run, status = await run_to_end(box, company, id)
        assert status == "failed"
        found = box.call("planning.plans.refine", id=id, run=run, steps=[S1, S2, s3("right.txt"), S3B])
        assert found["plan"]["version"] == 2
        assert found["difference"] == {
            "kept": ["s1", "s2"],
            "changed": [{"key": "s3", "fields": ["input.path"]}],
            "added": ["s3b"],
            "removed": [],
            "plan": [],
        }
        assert (found["plan"]["status"], found["plan"]["approved_hash"], found["plan"]["run"]) == ("draft", None, None)
        assert (found["version"]["reason"], found["version"]["run"]) == ("failed run", run)
        failure(box.call, "refused", "planning.plans.execute", id=id)
        _, status = await run_to_end(box, company, id)
    assert (status, (tmp_path / "right.txt").read_text()) == ("succeeded", "y")


async def test_a_failed_run_is_answered_by_rule_and_what_no_rule_mends_is_told(
    box: Sandbox, company: Company, create: Create, tmp_path: Path
) -> None:
    missing = {"key": "run", "kind": "command", "input": {"run": ["./no-such-program-anywhere"]}, "needs": ["s1"]}
    id = create(S1, missing, {**s3("wrong.txt"), "needs": ["s1"]}, folder=str(tmp_path))["id"]
    async with box.running():
        run, _ = await run_to_end(box, company, id)
    found = box.call("planning.plans.refine", id=id)
    assert (found["version"]["run"], found["plan"]["maker"], found["plan"]["status"]) == (run, "rules", "draft")
    assert found["difference"] == {
        "kept": ["s1", "s3"],
        "changed": [{"key": "run", "fields": ["needs"]}],
        "added": ["run-install"],
        "removed": [],
        "plan": [],
    }
    remarks = {each["step"]: each for each in found["remarks"]}
    assert remarks.keys() == {"run", "s3"}
    assert remarks["run"]["word"] == "not_found"
    assert "wrong.txt is not there" in remarks["s3"]["message"]
    assert box.call("planning.plans.validate", id=id)["ok"]


def test_feedback_is_kept_with_the_version_and_changes_no_step_by_itself(box: Sandbox, create: Create) -> None:
    plan = create(S1)
    failure(box.call, "invalid", "planning.plans.refine", id=plan["id"])
    found = box.call("planning.plans.refine", id=plan["id"], feedback="Name it two")
    assert (found["difference"]["kept"], found["version"]["feedback"]) == (["s1"], "Name it two")
    assert [each["word"] for each in found["remarks"]] == ["feedback"]
    steps = [{**S1, "input": {"title": "two"}}]
    found = box.call("planning.plans.refine", id=plan["id"], feedback="Name it two", steps=steps)
    assert found["difference"]["changed"] == [{"key": "s1", "fields": ["input.title"]}]
    assert (found["plan"]["version"], found["remarks"], found["version"]["reason"]) == (3, [], "feedback")


async def test_only_a_failed_run_of_the_plan_itself_is_answered(box: Sandbox, company: Company, create: Create) -> None:
    id, other = create(S1)["id"], create(S2 | {"needs": []})["id"]
    async with box.running():
        run, _ = await run_to_end(box, company, id)
    assert failure(box.call, "conflict", "planning.plans.refine", id=id, run=run)["status"] == "succeeded"
    failure(box.call, "invalid", "planning.plans.refine", id=other, run=run)
    failure(box.call, "not_found", "planning.plans.refine", id=other, run="none")


def step(kind: str, **fields: Any) -> PlanStep:
    return PlanStep(key="a", kind=kind, **fields)


@pytest.mark.parametrize(
    ("given", "word", "options"),
    [
        (step("command"), "timeout", {"timeout": "PT20M"}),
        (step("http", options={"timeout": "P29D"}), "timeout", {"timeout": "P30D"}),
        (step("command", options={"timeout": "P30D"}), "timeout", {"timeout": "P30D"}),
        (step("command"), "exit", {}),
        (step("http", input={"url": "http://a"}), "connection", {"retry": {"max": 3, "on": ["connection"]}}),
        (step("http", input={"method": "POST"}), "connection", {}),
        (step("operation", options={"retry": {"max": 2}}), "locked", {"retry": {"max": 4}}),
        (step("operation", options={"retry": {"on": ["a"]}}), "locked", {"retry": {"max": 3, "on": ["a", "locked"]}}),
        (step("command"), "connection", {}),
    ],
)  # fmt: skip
def test_each_rule_changes_what_it_says(given: PlanStep, word: str, options: dict[str, Any]) -> None:
    made, told = repair([given], [Failure("a", word, "it failed")])
    assert [each.options for each in made] == [options]
    assert [(each.key, each.word) for each in told] == [("a", word)]


def test_a_request_that_the_other_side_knows_again_is_tried_again() -> None:
    given = step("http", input={"method": "POST", "idempotency_header": "Idempotency-Key"})
    made, _ = repair([given], [Failure("a", "server", "it answered 503")])
    assert made[0].options == {"retry": {"max": 3, "on": ["server"]}}


def test_steps_of_a_fan_out_that_fail_alike_are_answered_once() -> None:
    failures = [Failure("a", "timeout", "slow"), Failure("a", "timeout", "slow"), Failure("b", "exit", "gone")]
    made, told = repair([step("command")], failures)
    assert (made[0].options, len(told)) == ({"timeout": "PT20M"}, 2)


values = st.recursive(st.integers(0, 2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=2))
contents = st.dictionaries(st.sampled_from(["s1", "s2", "s3"]), st.dictionaries(st.sampled_from("xy"), values))


@given(before=contents, after=contents)
def test_a_difference_names_every_step_once_and_what_is_kept_is_equal(before: Any, after: Any) -> None:
    found = difference(*([{"key": key, **rest} for key, rest in each.items()] for each in (before, after)))
    assert sorted([*found.kept, *found.changed, *found.added]) == sorted(after)
    assert sorted([*found.kept, *found.changed, *found.removed]) == sorted(before)
    assert all(before[key] == after[key] for key in found.kept)
    assert all(before[key] != after[key] and fields for key, fields in found.changed.items())
