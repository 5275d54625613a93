"""Validation tells all that is wrong before anything runs; approval binds a person to exactly what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coder_local.api import Refused
from coder_local.testing.memory import Sandbox
from tests.plugins.planning.acceptance import failure
from tests.plugins.planning.plans.conftest import approved

Create = Callable[..., Any]
MAKE = {"key": "make", "operation": "planning.tasks.create", "input": {"title": "one"}}
ASK = {"key": "ask", "kind": "approval", "input": {"prompt": "Go on?"}}
SEND = {"key": "send", "operation": "shell.run", "input": {"line": "ls"}}


def findings(box: Sandbox, id: str) -> list[tuple[str, str | None, str]]:
    found = box.call("planning.plans.validate", id=id)["findings"]
    return [(each["severity"], each["step"], each["rule"]) for each in found]


def test_an_unknown_operation_is_an_error_with_the_nearest_name(box: Sandbox, create: Create) -> None:
    plan = create({"key": "s1", "operation": "shell.rnu", "input": {"line": "ls"}})
    found = box.call("planning.plans.validate", id=plan["id"])
    (error,) = [each for each in found["findings"] if each["severity"] == "error"]
    assert (error["rule"], error["step"], error["field"]) == ("unknown_operation", "s1", "/steps/0/operation")
    assert "did you mean shell.run" in error["fix"]
    assert (found["ok"], found["plan"]["status"], found["plan"]["findings"]) == (False, "draft", found["findings"])
    assert (box.events[-2].type, box.events[-2].data["ok"]) == ("planning.plan.validated", False)


def test_a_step_that_leaves_the_machine_unasked_is_a_warning(box: Sandbox, create: Create) -> None:
    plan = create(SEND)
    assert findings(box, plan["id"]) == [("warning", "send", "spends_without_approval")]
    assert box.call("planning.plans.get", id=plan["id"])["status"] == "validated"
    assert findings(box, create(ASK, {**SEND, "needs": ["ask"]})["id"]) == []


@pytest.mark.parametrize(
    ("step", "rule", "field"),
    [
        ({**MAKE, "input": {"titel": "one"}}, "schema", "/steps/0/input/titel"),
        ({**MAKE, "options": {"timeotu": "PT1S"}}, "schema", "/steps/0/options/timeotu"),
        ({**MAKE, "options": {"timeout": "PT0S"}}, "limit", "/steps/0/options/timeout"),
        ({"key": "a", "kind": "comand", "input": {"run": ["ls"]}}, "unknown_kind", "/steps/0/kind"),
        ({"key": "a", "kind": "command", "input": {"run": ["ls"]}}, "folder", "/folder"),
        (
            {"key": "a", "kind": "http", "input": {"url": "http://x", "methud": "GET"}},
            "schema",
            "/steps/0/input/methud",
        ),
        ({**MAKE, "needs": ["mak"]}, "unknown_step", "/steps/0/needs/0"),
        ({**MAKE, "needs": ["make"]}, "cycle", "/steps"),
        ({**MAKE, "input": {"title": "${{ steps.other.output }}"}}, "reference", "/steps/0/input/title"),
        ({**SEND, "safety": "write"}, "safety", "/steps/0/safety"),
    ],
)
def test_each_rule_says_where_and_keeps_a_plan_a_draft(
    box: Sandbox, create: Create, step: dict[str, Any], rule: str, field: str
) -> None:
    plan = create(step)
    found = box.call("planning.plans.validate", id=plan["id"])
    errors = [(each["rule"], each["field"]) for each in found["findings"] if each["severity"] == "error"]
    assert (rule, field) in errors
    assert found["plan"]["status"] == "draft"


def test_time_is_held_against_the_budget(box: Sandbox, create: Create) -> None:
    first, second = {**MAKE, "estimate": "PT2M"}, {**ASK, "needs": ["make"], "estimate": "PT3M"}
    beside = {**MAKE, "key": "beside", "estimate": "PT4M"}
    plan = create(first, second, beside, budget_time="PT5M")
    found = box.call("planning.plans.validate", id=plan["id"])
    assert (found["ok"], found["findings"], found["time_ms"], found["unknown"]) == (True, [], 300_000, [])
    box.call("planning.plans.edit", id=plan["id"], budget_time="PT4M")
    assert findings(box, plan["id"]) == [("error", None, "over_budget")]
    unknown = create(MAKE, budget_time="PT4M")
    assert findings(box, unknown["id"]) == [("warning", None, "unknown_time")]


def test_money_is_held_against_the_budget(box: Sandbox, create: Create) -> None:
    def send(key: str, minor: int, currency: str = "EUR") -> dict[str, Any]:
        return {**SEND, "key": key, "needs": ["ask"], "cost": {"minor": minor, "currency": currency}}

    budget = {"minor": 1000, "currency": "EUR"}
    assert findings(box, create(ASK, send("a", 400), send("b", 600), budget_money=budget)["id"]) == []
    over = create(ASK, send("a", 400), send("b", 601), budget_money=budget)
    found = box.call("planning.plans.validate", id=over["id"])["findings"]
    assert [each["message"] for each in found] == ["it costs 10.01 EUR, and its budget is 10.00 EUR"]
    assert findings(box, create(ASK, send("a", 4, "USD"), budget_money=budget)["id"]) == [("error", "a", "currency")]
    silent = create(ASK, {**SEND, "needs": ["ask"]}, budget_money=budget)
    assert findings(box, silent["id"]) == [("warning", "send", "unknown_cost")]


def test_an_approval_is_bound_to_the_hash_and_to_a_person(box: Sandbox, create: Create) -> None:
    plan = create(MAKE)
    failure(box.call, "conflict", "planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    box.call("planning.plans.validate", id=plan["id"])
    with pytest.raises(Refused) as caught:
        box.call("planning.plans.approve", id=plan["id"], content_hash="0" * 64)
    assert caught.value.data == {"rule": "approval", "content_hash": plan["content_hash"], "version": 1}
    with pytest.raises(Refused, match="for a person"):
        box.as_agent("a").call("planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    found = box.call("planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    assert (found["status"], found["approved_by"], found["approved_at"]) == (
        "approved",
        "user",
        "2026-01-01T00:00:00.000Z",
    )
    assert box.events[-1].data == {"plan": plan["id"], "version": 1, "content_hash": plan["content_hash"]}
    again = box.call("planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    assert again == found


def test_validating_again_leaves_an_approval_that_still_holds(box: Sandbox, create: Create) -> None:
    plan = approved(box, create(MAKE)["id"])
    assert box.call("planning.plans.validate", id=plan["id"])["plan"]["status"] == "approved"


def test_a_plan_without_execution_can_be_approved_and_not_run(alone: Sandbox) -> None:
    fields = {"title": "A", "goal": "B", "steps": [MAKE, {**ASK, "needs": ["make"]}]}
    id = alone.call("planning.plans.create", **fields)["plan"]["id"]
    assert findings(alone, id) == [("warning", None, "unchecked")]
    plan = approved(alone, id)
    assert (plan["status"], plan["run_hash"]) == ("approved", None)
    assert failure(alone.call, "unsupported", "planning.plans.execute", id=id) == {"plugin": "execution"}
    alone.call("planning.plans.edit", id=id, steps=[{**MAKE, "needs": ["ask"]}, {**ASK, "needs": ["make", "no"]}])
    assert sorted(rule for severity, _, rule in findings(alone, id) if severity == "error") == ["cycle", "unknown_step"]
    refined = alone.call("planning.plans.refine", id=id, feedback="Shorter, please")
    assert (refined["plan"]["version"], refined["remarks"][0]["word"]) == (3, "feedback")
