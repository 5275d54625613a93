"""Planning's acceptance examples, written against any door.

Each is a function of `call(name, **input)`, which returns an answer as plain data and raises an error with `kind` and
`data`, and of `today`, the day it is at the other side of the door. The examples share a database: each makes a project
of its own, and asks about that project only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from coder_local.api import between

Call = Callable[..., Any]
DAY = 480


def failure(call: Call, wanted: str, name: str, /, **input: Any) -> dict[str, Any]:
    """Return `data` of the error that a call ends with, of that kind."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each door has its own class; the kind is what matters
        call(name, **input)
    assert getattr(caught.value, "kind", None) == wanted, caught.value
    return getattr(caught.value, "data", None) or {}


def new_project(call: Call, **fields: Any) -> str:
    """Return the key of a new project."""
    key = "P" + uuid.uuid4().hex[:8].upper()
    return call("planning.projects.create", name="An example", key=key, **fields)["key"]


def new_tasks(call: Call, project: str, **days: int) -> dict[str, str]:
    """Return the keys of new tasks by title; the numbers are their estimates in days."""
    return {
        title: call("planning.tasks.create", title=title, project=project, estimate={"likely": count * DAY})["key"]
        for title, count in days.items()
    }


def diamond(call: Call) -> tuple[str, dict[str, str]]:
    """Return the project and the keys of the graph that examples 1 to 3 share."""
    project = new_project(call)
    keys = new_tasks(call, project, a=3, b=2, c=4, d=1, e=2)
    for source, target in ("ab", "bc", "ad", "dc", "de"):
        call("planning.link", source=keys[source], target=keys[target], kind="blocks")
    return project, keys


def example_1_schedule(call: Call, today: date) -> None:
    project, keys = diamond(call)
    found = call("planning.schedule", project=project, start="2026-11-02")
    rows = {row["title"]: row for row in found["items"]}
    days = {title: (row["es"] / DAY, row["ef"] / DAY, row["slack"] / DAY) for title, row in rows.items()}
    assert days == {"a": (0, 3, 0), "b": (3, 5, 0), "d": (3, 4, 1), "c": (5, 9, 0), "e": (4, 6, 3)}
    assert found["critical"] == [keys["a"], keys["b"], keys["c"]]
    assert found["finish"] == "2026-11-12"

    later = call("planning.schedule", project=project, start="2026-11-02", holidays=["2026-11-11"])
    assert later["finish"] == "2026-11-13"
    dates = {row["title"]: (row["start"], row["finish"]) for row in later["items"]}
    before = {row["title"]: (row["start"], row["finish"]) for row in found["items"]}
    assert {title for title, row in dates.items() if row != before[title]} == {"c"}


def example_2_ready_and_blocked(call: Call, today: date) -> None:
    project, keys = diamond(call)
    call("planning.tasks.finish", id=keys["a"])
    call("planning.tasks.hold", id=keys["b"], reason="waiting for licence")

    def ready() -> list[str]:
        return [task["title"] for task in call("planning.ready", project=project)["items"]]

    assert ready() == ["d"]
    blocked = call("planning.blocked", project=project)
    told = {each["task"]["title"]: [reason["text"] for reason in each["reasons"]] for each in blocked["items"]}
    assert told == {"b": ['hold "waiting for licence"'], "c": [keys["b"], keys["d"]], "e": [keys["d"]]}
    roots = {each["task"]["title"]: [chain[-1]["text"] for chain in each["chains"]] for each in blocked["items"]}
    assert roots["c"] == ['hold "waiting for licence"', keys["d"]]

    freed = call("planning.tasks.finish", id=keys["d"])["freed"]
    assert [task["title"] for task in freed] == ["e"]
    assert ready() == ["e"]


def example_3_cycle(call: Call, today: date) -> None:
    _, keys = diamond(call)
    id = call("planning.tasks.find", task=keys["a"])["id"]
    before = call("planning.links.list", target=id)["items"]
    data = failure(call, "conflict", "planning.link", source=keys["c"], target=keys["a"], kind="blocks")
    assert data["cycle"] == [keys["a"], keys["b"], keys["c"], keys["a"]]
    assert call("planning.links.list", target=id)["items"] == before == []


def example_4_forecast(call: Call, today: date) -> None:
    asked = {"throughput": [3, 5, 2, 4, 4, 1], "remaining": 20}
    found = call("planning.forecast", **asked)
    assert (found["p50"], found["p85"], found["p95"]) == (7, 8, 9)
    chances = {row["weeks"]: round(row["chance"] * 100, 2) for row in found["distribution"]}
    assert (chances[6], chances[7], chances[8]) == (44.94, 77.26, 93.42)
    assert call("planning.forecast", **asked) == found


def example_4_from_history(call: Call, today: date) -> None:
    project = new_project(call)
    for ago, count in enumerate((1, 4, 4, 2, 5, 3)):  # the newest week first
        for number in range(count):
            key = call("planning.tasks.create", title=f"{ago} {number}", project=project)["key"]
            call("planning.tasks.finish", id=key, at=f"{today - timedelta(days=7 * ago + number % 7 + 1)}T12:00:00Z")
    for number in range(20):
        call("planning.tasks.create", title=f"open {number}", project=project)
    found = call("planning.forecast", project=project, today=str(today - timedelta(days=1)))
    assert found["basis"] == {"throughput": [3, 5, 2, 4, 4, 1], "remaining": 20}
    assert (found["p50"], found["p85"], found["p95"]) == (7, 8, 9)


def example_5_next(call: Call, today: date) -> None:
    project = new_project(call)
    task = call(
        "planning.tasks.create",
        title="first",
        project=project,
        priority="high",
        due=str(today + timedelta(days=2)),
        tags=["one", "two"],
    )["key"]
    other = call("planning.tasks.create", title="second", project=project)["key"]
    call("planning.link", source=task, target=other, kind="blocks")
    found = call("planning.next", project=project, today=str(today))["items"]
    assert [each["task"]["key"] for each in found] == [task]
    assert found[0]["score"] == 23.786
    terms = {term["name"]: term["value"] for term in found[0]["terms"]}
    assert terms == {"priority": 6.0, "due": 7.886, "blocking": 8.0, "tags": 0.9, "project": 1.0}

    for days in (7, 30):
        late = call("planning.tasks.create", title=f"late {days}", project=project, due=str(today - timedelta(days)))
        found = call("planning.next", project=project, today=str(today), limit=50)["items"]
        terms = next(each["terms"] for each in found if each["task"]["key"] == late["key"])
        assert {"name": "due", "value": 12.0} in terms


def example_10_split(call: Call, today: date) -> None:
    project = new_project(call)
    items = [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    old = call("planning.tasks.create", title="old", project=project, estimate={"likely": 600}, checklist=items)
    after = call("planning.tasks.create", title="after", project=project)
    before = call("planning.tasks.create", title="before", project=project)
    call("planning.link", source=old["key"], target=after["key"], kind="blocks")
    call("planning.link", source=before["key"], target=old["key"], kind="blocks")

    parts = call("planning.tasks.split", id=old["key"], parts=3)["parts"]
    assert [[item["text"] for item in part["checklist"]] for part in parts] == [["one"], ["two"], ["three"]]
    assert [part["estimate"]["likely"] for part in parts] == [200, 200, 200]
    assert _waits_for(call, after["id"]) == {part["id"] for part in parts}
    assert all(_waits_for(call, part["id"]) == {before["id"]} for part in parts)
    failure(call, "not_found", "planning.tasks.get", id=old["id"])

    call("changes.undo")
    again = call("planning.tasks.get", id=old["id"])
    assert {**again, "rev": 0, "updated_at": ""} == {**old, "rev": 0, "updated_at": ""}
    assert _waits_for(call, after["id"]) == {old["id"]}
    assert _waits_for(call, old["id"]) == {before["id"]}
    titles = {task["title"] for task in call("planning.tasks.list", project=old["project"])["items"]}
    assert titles == {"old", "after", "before"}


def _waits_for(call: Call, id: str) -> set[str]:
    links = call("planning.links.list", target=id)["items"]
    return {link["source"] for link in links if link["kind"] == "blocks"}


def new_plan(call: Call, *steps: dict[str, Any]) -> dict[str, Any]:
    """Return a new plan of some steps."""
    return call("planning.plans.create", title="An example", goal="See that it works", steps=list(steps))["plan"]


def example_11_validate(call: Call, today: date) -> None:
    wrong = new_plan(call, {"key": "s1", "operation": "planning.tasks.creat", "input": {"title": "one"}})
    found = call("planning.plans.validate", id=wrong["id"])
    errors = [each for each in found["findings"] if each["severity"] == "error"]
    assert [(each["rule"], each["step"]) for each in errors] == [("unknown_operation", "s1")]
    assert "did you mean planning.tasks.create" in errors[0]["fix"]
    assert (found["ok"], found["plan"]["status"]) == (False, "draft")

    unasked = new_plan(call, {"key": "send", "kind": "http", "input": {"url": "http://localhost:9/"}})
    found = call("planning.plans.validate", id=unasked["id"])
    assert [(each["severity"], each["rule"]) for each in found["findings"]] == [("warning", "spends_without_approval")]
    assert (found["ok"], found["plan"]["status"]) == (True, "validated")


def example_15_refine(call: Call, today: date) -> None:
    steps = [{"key": key, "kind": "http", "input": {"url": f"http://localhost:9/{key}"}} for key in ("s1", "s2", "s3")]
    plan = new_plan(call, *steps)
    call("planning.plans.validate", id=plan["id"])
    approved = call("planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    assert (approved["status"], approved["approved_by"]) == ("approved", "user")

    changed = {**steps[2], "input": {"url": "http://localhost:9/other"}}
    added = {"key": "s3b", "operation": "planning.tasks.list", "needs": ["s3"]}
    refined = call("planning.plans.refine", id=plan["id"], feedback="the other", steps=[*steps[:2], changed, added])
    assert refined["difference"] == {
        "kept": ["s1", "s2"],
        "changed": [{"key": "s3", "fields": ["input.url"]}],
        "added": ["s3b"],
        "removed": [],
        "plan": [],
    }
    assert (refined["plan"]["version"], refined["plan"]["status"]) == (2, "draft")
    data = failure(call, "refused", "planning.plans.approve", id=plan["id"], content_hash=plan["content_hash"])
    assert data["content_hash"] == refined["plan"]["content_hash"]


def example_13_reorder(call: Call, today: date) -> None:
    project = new_project(call)
    keys = new_tasks(call, project, a=1, b=1, c=1)

    def tasks() -> dict[str, dict[str, Any]]:
        found = {title: call("planning.tasks.find", task=key) for title, key in keys.items()}
        return dict(sorted(found.items(), key=lambda each: each[1]["rank"]))

    old = tasks()
    call("planning.tasks.reorder", id=keys["c"], after=keys["a"], before=keys["b"])
    new = tasks()
    assert list(new) == ["a", "c", "b"]
    assert new["c"]["rank"] == between(old["a"]["rank"], old["b"]["rank"])
    assert [title for title in new if new[title]["rev"] != old[title]["rev"]] == ["c"]
    call("planning.tasks.reorder", id=keys["b"], before=keys["a"])
    assert list(tasks()) == ["b", "a", "c"]


def example_16_health(call: Call, today: date) -> None:
    project = new_project(call, target=str(today + timedelta(weeks=6)))
    for weeks in (0, 5):
        key = call("planning.tasks.create", title=f"{weeks}", project=project)["key"]
        call("planning.tasks.finish", id=key, at=f"{today - timedelta(days=7 * weeks + 1)}T12:00:00Z")
    new_tasks(call, project, left=1, too=1)
    found = call("planning.projects.health", id=project, today=str(today))
    p50, p85 = str(today + timedelta(weeks=5)), str(today + timedelta(weeks=9))
    assert (found["p50"], found["p85"], found["remaining"]) == (p50, p85, 2)
    assert found["status"] == "at_risk"
    assert "p85" in found["reasons"][0]
    assert p85 in found["reasons"][0]

    id = next(each["id"] for each in call("planning.projects.list", q=project)["items"])
    call("planning.projects.update", id=id, target=str(today + timedelta(weeks=4)))
    found = call("planning.projects.health", id=project, today=str(today))
    assert found["status"] == "off_track"
    assert "p50" in found["reasons"][0]
    told = call("planning.explain", record=project, field="health", today=str(today))
    assert told["value"] == "off_track"


def example_17_after_done(call: Call, today: date) -> None:
    project = new_project(call)
    rule = {"mode": "after_done", "every": 2, "unit": "week"}
    key = call("planning.tasks.create", title="water", project=project, recurrence=rule)["key"]
    following = call("planning.tasks.finish", id=key, today="2026-11-04")["next"]
    assert (following["due"], following["status"], following["title"]) == ("2026-11-18", "todo", "water")
    assert following["key"] != key


def example_17_fixed(call: Call, today: date) -> None:
    project = new_project(call)
    rule = {"mode": "fixed", "every": 2, "unit": "week", "start": "2026-11-02"}
    for finished in ("2026-10-30", "2026-11-02", "2026-11-10", "2026-11-16"):
        key = call("planning.tasks.create", title="report", project=project, recurrence=rule)["key"]
        following = call("planning.tasks.finish", id=key, today=finished)["next"]
        assert (following["due"], following["missed"]) == ("2026-11-16", 0)
        call("planning.tasks.drop", id=following["key"])


def example_17_missed(call: Call, today: date) -> None:
    project = new_project(call)
    rule = {"mode": "fixed", "every": 2, "unit": "week", "start": "2026-11-02"}
    key = call("planning.tasks.create", title="report", project=project, recurrence=rule)["key"]

    (seen,) = call("planning.next", project=project, today="2026-12-15")["items"]
    assert (seen["task"]["key"], seen["missed"]) == (key, 3)
    call("planning.tasks.roll", today="2026-12-15")
    (rolled,) = call("planning.tasks.list", project=call("planning.tasks.find", task=key)["project"])["items"]
    assert (rolled["due"], rolled["missed"], rolled["status"]) == ("2026-12-14", 3, "todo")
    (seen,) = call("planning.next", project=project, today="2026-12-15")["items"]
    assert seen["missed"] == 3


EXAMPLES: tuple[Callable[[Call, date], None], ...] = (
    example_1_schedule,
    example_2_ready_and_blocked,
    example_3_cycle,
    example_4_forecast,
    example_4_from_history,
    example_5_next,
    example_10_split,
    example_11_validate,
    example_13_reorder,
    example_15_refine,
    example_16_health,
    example_17_after_done,
    example_17_fixed,
    example_17_missed,
)
