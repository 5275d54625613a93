"""Tasks: keys, the verbs on their way, places, division, recurrence; and what each of them refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from coder_local.api import Conflict, Error, Invalid, NotFound
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.rules.recurrence import Recurrence
from coder_plugins.planning.tasks.records import Task
from tests.plugins.planning.acceptance import failure

Call = Callable[..., Any]


def create(call: Call, title: str = "a task", **fields: Any) -> dict[str, Any]:
    return call("planning.tasks.create", title=title, **fields)


def faults(error: Error) -> set[str]:
    return {fault["field"] for fault in error.data["faults"]}


# -- named by keys -----------------------------------------------------------------------------------------------------


def test_standard_operations_take_keys(call: Call) -> None:
    call("planning.projects.create", name="Beads", key="BD")
    first, second = create(call, project="BD"), create(call, project="BD")
    create(call)
    link = call("planning.link", source="BD-1", target="BD-2", kind="blocks")
    hold = call("planning.link", source="BD", target="BD-2", kind="relates")

    def ids(name: str, **filters: Any) -> list[str]:
        return [each["id"] for each in call(name, **filters)["items"]]

    assert call("planning.tasks.get", id="BD-2") == second
    assert call("planning.projects.get", id="BD")["name"] == "Beads"
    assert ids("planning.tasks.list", project="BD") == [first["id"], second["id"]]
    assert ids("planning.links.list", source="BD-1") == [link["id"]]
    assert ids("planning.links.list", target="BD-2") == [link["id"], hold["id"]]
    assert ids("planning.links.list", source="BD") == ids("planning.links.list", source=hold["source"]) == [hold["id"]]
    assert ids("planning.links.list", source="another-plugins-record") == []
    assert call("planning.tasks.update", id="BD-1", title="new", if_rev=1)["rev"] == 2
    failure(call, "stale", "planning.tasks.update", id="BD-1", title="newer", if_rev=1)
    entry = call("planning.times.create", task="BD-1", started_at="2026-11-06T08:00:00Z", minutes=5)
    assert ids("planning.times.list", task="BD-1") == [entry["id"]]
    failure(call, "not_found", "planning.tasks.list", project="NONE")
    call("planning.tasks.delete", id="BD-2")
    assert call("planning.projects.update", id="BD", name="Pearls")["name"] == "Pearls"


# -- making and finding ------------------------------------------------------------------------------------------------


def test_a_key_is_never_given_again(call: Call) -> None:
    call("planning.projects.create", name="Plan", key="PLAN")
    first = create(call, project="PLAN")
    second = create(call, project="plan")
    assert (first["key"], second["key"], create(call)["key"]) == ("PLAN-1", "PLAN-2", "TASK-1")
    call("planning.tasks.delete", id=second["id"])
    assert create(call, project="PLAN")["key"] == "PLAN-3"


def test_a_key_stays_when_the_task_moves(call: Call) -> None:
    call("planning.projects.create", name="Plan", key="PLAN")
    task = create(call)
    moved = call("planning.tasks.move", id=task["key"], project="PLAN")["task"]
    assert (moved["key"], moved["project"]) == ("TASK-1", call("planning.projects.list")["items"][0]["id"])
    assert call("planning.tasks.move", id="TASK-1", project=None)["task"]["project"] is None


def test_a_task_is_found_by_key_in_any_case_and_by_id(call: Call) -> None:
    task = create(call)
    for reference in ("TASK-1", "task-1", task["id"]):
        assert call("planning.tasks.find", task=reference) == task


def test_a_task_of_another_workspace_is_not_found(box: Sandbox) -> None:
    task = box.call("planning.tasks.create", title="mine")
    other = box.as_caller(workspace="other")
    failure(other.call, "not_found", "planning.tasks.finish", id=task["id"])
    failure(other.call, "not_found", "planning.tasks.finish", id=task["key"])
    assert other.call("planning.ready")["total"] == 0
    assert other.call("planning.tasks.create", title="theirs")["key"] == "TASK-1"


@pytest.mark.parametrize("reference", ["TASK-99", "no-such-id"])
def test_an_unknown_reference_names_the_field_and_the_cure(call: Call, reference: str) -> None:
    with pytest.raises(NotFound) as caught:
        call("planning.tasks.start", id=reference)
    assert caught.value.field == "/id"
    assert "PLAN-12" in (caught.value.hint or "")


# -- what must hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"due": "2026-11-02", "wait_until": "2026-11-03"}, "/due"),
        ({"due": "2026-02-30"}, "/due"),
        ({"estimate": {"low": 5, "likely": 4}}, "/estimate/low"),
        ({"estimate": {"likely": 9, "high": 8}}, "/estimate/high"),
        ({"tags": ["x" * 101]}, "/tags"),
        ({"tags": [""]}, "/tags"),
        ({"recurrence": {"mode": "fixed"}}, "/recurrence"),
        ({"recurrence": {"mode": "after_done", "every": 0}}, "/recurrence/every"),
        ({"recurrence": {"mode": "fixed", "start": "2026-11-02", "until": "2026-11-01"}}, "/recurrence"),
        ({"recurrence": {"mode": "fixed", "start": "2026-11-02", "rrule": "FREQ=SOMETIMES"}}, "/recurrence/rrule"),
        ({"title": ""}, "/title"),
        ({"title": "x" * 301}, "/title"),
        ({"checklist": [{"text": ""}]}, "/checklist/0/text"),
        ({"priority": "huge"}, "/priority"),
        ({"status": "done"}, "/status"),
    ],
)
def test_a_bad_task_is_refused_by_field(call: Call, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        call("planning.tasks.create", **{"title": "a", **fields})
    assert field in faults(caught.value)
    assert call("planning.tasks.list")["items"] == []


def test_all_faults_are_named_at_once(call: Call) -> None:
    with pytest.raises(Invalid) as caught:
        create(call, due="2026-11-02", wait_until="2026-11-03", estimate={"low": 5, "likely": 4, "high": 3}, tags=[""])
    assert faults(caught.value) == {"/due", "/estimate/low", "/estimate/high", "/tags"}


def test_the_rules_hold_for_update_too(call: Call) -> None:
    task = create(call, due="2026-11-02")
    assert failure(call, "invalid", "planning.tasks.update", id=task["id"], wait_until="2026-11-03")["faults"]
    assert failure(call, "invalid", "planning.tasks.update", id=task["id"], estimate={"low": 2, "likely": 1})["faults"]


def test_the_rules_hold_for_undo_too(box: Sandbox) -> None:
    """Undoing an earlier change must not leave a due date before the start."""
    task = box.call("planning.tasks.create", title="a", due="2026-11-02")
    box.call("planning.tasks.update", id=task["id"], due="2026-11-20")
    earlier = box.call("planning.tasks.history", id=task["id"])["items"][0]["change_set"]
    box.call("planning.tasks.update", id=task["id"], wait_until="2026-11-10")
    with pytest.raises(Invalid, match="before its start"):
        box.undo(earlier)


@pytest.mark.parametrize("field", ["status", "key", "rank", "project", "hold_reason", "completed_at", "source"])
def test_what_verbs_write_is_no_field_of_update(call: Call, field: str) -> None:
    task = create(call)
    data = failure(call, "invalid", "planning.tasks.update", id=task["id"], **{field: "done"})
    assert data["faults"][0]["field"] == f"/{field}"


# -- the way of a task -------------------------------------------------------------------------------------------------


def test_the_whole_way_and_back(box: Sandbox) -> None:
    call = box.call
    task = create(call, status="backlog")
    for status in ("todo", "doing", "review", "doing", "review", "done"):
        box.clock.advance(60)
        task = call("planning.tasks.move", id="TASK-1", status=status)["task"]
        assert task["status"] == status
    assert task["completed_at"] > task["started_at"]
    reopened = call("planning.tasks.reopen", id="TASK-1")["task"]
    assert (reopened["status"], reopened["completed_at"], reopened["started_at"]) == ("todo", None, task["started_at"])
    assert call("planning.tasks.drop", id="TASK-1", reason="no need")["task"]["meta"] == {"drop_reason": "no need"}


@pytest.mark.parametrize(
    ("way", "status"),
    [(["doing"], "todo"), (["review"], "backlog"), (["done"], "doing"), (["done"], "dropped"), (["dropped"], "review")],
)
def test_a_step_that_is_not_allowed_says_which_are(call: Call, way: list[str], status: str) -> None:
    create(call)
    for step in way:
        call("planning.tasks.move", id="TASK-1", status=step)
    data = failure(call, "conflict", "planning.tasks.move", id="TASK-1", status=status)
    assert status not in data["allowed"]


def test_the_same_step_twice_is_a_conflict(call: Call) -> None:
    create(call)
    call("planning.tasks.start", id="TASK-1")
    assert failure(call, "conflict", "planning.tasks.start", id="TASK-1") == {"status": "doing"}
    failure(call, "conflict", "planning.tasks.reopen", id="TASK-1")


def test_start_is_refused_while_blocked_unless_overridden(box: Sandbox) -> None:
    call = box.call
    create(call)
    create(call)
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    assert failure(call, "conflict", "planning.tasks.start", id="TASK-2")["reasons"] == ["TASK-1"]
    failure(call, "conflict", "planning.tasks.move", id="TASK-2", status="review")
    started = call("planning.tasks.start", id="TASK-2", override_reason="it is only a draft")["task"]
    assert started["meta"] == {"override_reason": "it is only a draft"}
    assert box.events[-1].type == "planning.task.started"


def test_a_blocked_parent_blocks_its_children(call: Call) -> None:
    for _ in "abc":
        create(call)
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    call("planning.tasks.move", id="TASK-3", parent="TASK-2")
    assert failure(call, "conflict", "planning.tasks.start", id="TASK-3")["reasons"] == ["TASK-1 (through TASK-2)"]
    freed = call("planning.tasks.finish", id="TASK-1")["freed"]
    assert [task["key"] for task in freed] == ["TASK-2", "TASK-3"]


def test_reopening_blocks_again(call: Call) -> None:
    create(call)
    create(call)
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    call("planning.tasks.finish", id="TASK-1")
    call("planning.tasks.reopen", id="TASK-1")
    assert [task["key"] for task in call("planning.ready")["items"]] == ["TASK-1"]


def test_a_hold_blocks_until_its_day_or_its_release(box: Sandbox) -> None:
    call = box.call
    create(call)
    call("planning.tasks.hold", id="TASK-1", reason="waiting for parts", until="2026-11-10")
    assert box.events[-1].type == "planning.task.held"
    assert call("planning.ready")["total"] == 0
    assert call("planning.ready", today="2026-11-09")["total"] == 0
    assert call("planning.ready", today="2026-11-10")["total"] == 1
    assert [task["key"] for task in call("planning.tasks.release", id="TASK-1")["freed"]] == ["TASK-1"]
    failure(call, "conflict", "planning.tasks.release", id="TASK-1")
    call("planning.tasks.finish", id="TASK-1")
    failure(call, "conflict", "planning.tasks.hold", id="TASK-1", reason="late")


@pytest.mark.parametrize("until", ["2020-01-01", "2026-11-06"])
def test_a_hold_that_would_be_over_already_is_refused(call: Call, until: str) -> None:
    create(call)
    failure(call, "invalid", "planning.tasks.hold", id="TASK-1", reason="parts", until=until)
    assert call("planning.tasks.get", id="TASK-1")["hold_reason"] is None


def test_a_task_is_not_ready_before_wait_until(call: Call) -> None:
    create(call, wait_until="2026-11-09")
    (blocked,) = call("planning.blocked")["items"]
    assert blocked["reasons"][0]["text"] == 'hold "waits until 2026-11-09"'
    assert call("planning.ready", today="2026-11-09")["total"] == 1


def test_finish_in_the_future_is_refused(call: Call) -> None:
    create(call)
    failure(call, "invalid", "planning.tasks.finish", id="TASK-1", at="2026-11-07T00:00:00Z")


def test_finish_says_what_it_freed(box: Sandbox) -> None:
    call = box.call
    first, second = create(call), create(call)
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    call("planning.tasks.finish", id="TASK-1")
    said = box.events[-1]
    assert (said.type, said.subject) == ("planning.task.completed", f"planning.task/{first['id']}")
    assert said.data == {"task": first["id"], "freed": [second["id"]], "freed_count": 1, "next": None}


def test_finish_is_undone_in_one(box: Sandbox) -> None:
    rule = {"mode": "after_done", "every": 1, "unit": "day"}
    task = create(box.call, recurrence=rule, due="2026-11-06")
    box.call("planning.tasks.finish", id="TASK-1")
    assert len(box.call("planning.tasks.list", status="todo")["items"]) == 1
    box.undo()
    (only,) = box.call("planning.tasks.list")["items"]
    assert (only["id"], only["status"], only["completed_at"], only["recurred_as"]) == (task["id"], "todo", None, None)


# -- recurrence --------------------------------------------------------------------------------------------------------


def test_the_next_instance_is_fresh_and_under_the_same_parent(call: Call) -> None:
    create(call)
    rule = {"mode": "after_done", "every": 1, "unit": "week"}
    items = [{"text": "one", "done": True}]
    fields: dict[str, Any] = {"recurrence": rule, "checklist": items, "tags": ["home"], "estimate": {"likely": 30}}
    create(call, due="2026-11-06", wait_until="2026-11-04", **fields)
    call("planning.link", source="TASK-1", target="TASK-2", kind="parent")
    following = call("planning.tasks.finish", id="TASK-2")["next"]
    assert (following["due"], following["wait_until"]) == ("2026-11-13", "2026-11-11")
    assert following["checklist"] == [{"text": "one", "done": False}]
    assert following["tags"] == ["home"]
    (parent,) = call("planning.links.list", target=following["id"])["items"]
    assert parent["kind"] == "parent"


def test_finishing_again_after_reopening_makes_no_second_instance(call: Call) -> None:
    create(call, recurrence={"mode": "after_done"})
    call("planning.tasks.finish", id="TASK-1")
    call("planning.tasks.reopen", id="TASK-1")
    assert call("planning.tasks.finish", id="TASK-1")["next"] is None


def test_a_recurrence_ends(call: Call) -> None:
    create(call, recurrence={"mode": "fixed", "start": "2026-11-02", "until": "2026-11-05"})
    assert call("planning.tasks.finish", id="TASK-1")["next"] is None


@pytest.mark.parametrize("rrule", ["FREQ=SECONDLY", "FREQ=DAILY;BYDAY=MO;INTERVAL=0", "FREQ=DAILY;BYMINUTE=1,2"])
def test_what_would_be_walked_for_ever_is_refused_on_every_way_of_writing(box: Sandbox, rrule: str) -> None:
    rule = {"mode": "fixed", "rrule": rrule, "start": "2020-01-01"}
    failure(box.call, "invalid", "planning.tasks.create", title="a", recurrence=rule)
    task = create(box.call)
    failure(box.call, "invalid", "planning.tasks.update", id=task["id"], recurrence=rule)
    with box.tx() as tx, pytest.raises(Invalid, match="RRULE"):
        bad = Recurrence("fixed", start=date(2020, 1, 1), rrule=rrule)
        tx.insert(Task(key="TASK-9", title="a", rank="a0", recurrence=bad))
    assert box.call("planning.tasks.roll")["items"] == []


def test_rolling_what_came_too_often_names_the_task(call: Call) -> None:
    rule = {"mode": "fixed", "start": "1950-01-01", "rrule": "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR"}
    create(call, recurrence=rule, due="1950-01-01")
    assert failure(call, "conflict", "planning.tasks.roll") == {"task": "TASK-1"}
    assert failure(call, "conflict", "planning.tasks.finish", id="TASK-1") == {"task": "TASK-1"}
    assert call("planning.next")["items"][0]["missed"] == 0
    task = call("planning.tasks.find", task="TASK-1")
    call("planning.tasks.update", id=task["id"], due="2026-11-04")
    assert call("planning.tasks.roll")["items"][0]["due"] == "2026-11-06"


def test_rolling_twice_counts_once(call: Call) -> None:
    create(call, recurrence={"mode": "fixed", "start": "2026-11-02", "every": 1, "unit": "day"})
    assert len(call("planning.tasks.roll")["items"]) == 1
    assert call("planning.tasks.roll")["items"] == []
    assert call("planning.tasks.find", task="TASK-1")["missed"] == 4


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("input", "kind"),
    [
        ({}, "invalid"),
        ({"before": "TASK-1"}, "invalid"),
        ({"before": "TASK-2", "after": "TASK-3"}, "conflict"),
        ({"before": "TASK-2", "after": "TASK-2"}, "conflict"),
        ({"before": "TASK-9"}, "not_found"),
    ],
)
def test_a_place_that_is_none_is_refused(call: Call, input: dict[str, Any], kind: str) -> None:
    for _ in "abc":
        create(call)
    failure(call, kind, "planning.tasks.reorder", id="TASK-1", **input)


def test_move_under_another_parent_replaces_the_first(call: Call) -> None:
    for _ in "abc":
        create(call)
    call("planning.tasks.move", id="TASK-3", parent="TASK-1")
    call("planning.tasks.move", id="TASK-3", parent="TASK-2")
    id = call("planning.tasks.find", task="TASK-3")["id"]
    (link,) = call("planning.links.list", target=id)["items"]
    assert link["source"] == call("planning.tasks.find", task="TASK-2")["id"]
    call("planning.tasks.move", id="TASK-3", parent=None)
    assert call("planning.links.list", target=id)["items"] == []


def test_a_task_is_not_moved_under_its_own_descendant(call: Call) -> None:
    create(call)
    create(call)
    call("planning.tasks.move", id="TASK-2", parent="TASK-1")
    assert failure(call, "conflict", "planning.tasks.move", id="TASK-1", parent="TASK-2")["cycle"]
    failure(call, "invalid", "planning.tasks.move", id="TASK-1", parent="TASK-1")
    failure(call, "invalid", "planning.tasks.move", id="TASK-1")


def test_an_estimate_does_not_cross_units(call: Call) -> None:
    call("planning.projects.create", name="Points", key="PTS", unit="points")
    create(call, estimate={"likely": 60})
    with pytest.raises(Conflict, match="not estimated in points"):
        call("planning.tasks.move", id="TASK-1", project="PTS")
    call("planning.tasks.update", id=call("planning.tasks.find", task="TASK-1")["id"], estimate=None)
    call("planning.tasks.move", id="TASK-1", project="PTS")


# -- division ----------------------------------------------------------------------------------------------------------


def test_split_by_titles_with_estimates(call: Call) -> None:
    create(call, estimate={"low": 10, "likely": 20, "high": 31}, tags=["x"])
    parts = call("planning.tasks.split", id="TASK-1", titles=["first", "second"])["parts"]
    assert [part["title"] for part in parts] == ["first", "second"]
    assert [part["estimate"] for part in parts] == [
        {"low": 5, "likely": 10, "high": 16},
        {"low": 5, "likely": 10, "high": 15},
    ]
    assert all(part["tags"] == ["x"] for part in parts)
    assert parts[0]["rank"] < parts[1]["rank"]


def test_split_hands_over_children_and_times(call: Call) -> None:
    for _ in "ab":
        create(call)
    call("planning.tasks.move", id="TASK-2", parent="TASK-1")
    call("planning.times.create", task="TASK-1", started_at="2026-11-06T09:00:00Z", minutes=30)
    parts = call("planning.tasks.split", id="TASK-1", parts=2)["parts"]
    (link,) = call("planning.links.list", target=call("planning.tasks.find", task="TASK-2")["id"])["items"]
    assert link["source"] == parts[0]["id"]
    assert len(call("planning.times.list", task=parts[0]["id"])["items"]) == 1


@pytest.mark.parametrize(
    ("fields", "input", "kind"),
    [
        ({}, {}, "invalid"),
        ({}, {"parts": 1}, "invalid"),
        ({}, {"parts": 3, "titles": ["a", "b"]}, "invalid"),
        ({}, {"parts": 2, "estimates": [{"likely": 1}]}, "invalid"),
        ({"recurrence": {"mode": "after_done"}}, {"parts": 2}, "conflict"),
    ],
)
def test_a_split_that_is_none_is_refused(call: Call, fields: dict[str, Any], input: dict[str, Any], kind: str) -> None:
    create(call, **fields)
    failure(call, kind, "planning.tasks.split", id="TASK-1", **input)


def test_a_closed_task_is_not_split(call: Call) -> None:
    create(call)
    call("planning.tasks.finish", id="TASK-1")
    failure(call, "conflict", "planning.tasks.split", id="TASK-1", parts=2)


def test_merge_joins_all_and_one_undo_parts_them(box: Sandbox) -> None:
    call = box.call
    create(
        call, "one", estimate={"likely": 60}, tags=["x"], priority="low", due="2026-11-20", checklist=[{"text": "a"}]
    )
    create(call, "two", estimate={"likely": 30, "high": 50}, tags=["y"], priority="high", due="2026-11-10")
    for title in ("before", "after"):
        create(call, title)
    call("planning.link", source="TASK-3", target="TASK-2", kind="blocks")
    call("planning.link", source="TASK-2", target="TASK-4", kind="blocks")
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    old = call("planning.tasks.list")["items"]
    links = call("planning.links.list")["items"]

    merged = call("planning.tasks.merge", ids=["TASK-1", "TASK-2"], title="both")["task"]
    assert (merged["key"], merged["title"], merged["priority"], merged["due"]) == (
        "TASK-1",
        "both",
        "high",
        "2026-11-10",
    )
    assert merged["estimate"] == {"low": 90, "likely": 90, "high": 110}
    assert merged["tags"] == ["x", "y"]
    names = {task["id"]: task["title"] for task in call("planning.tasks.list")["items"]}
    arrows = {(names[each["source"]], names[each["target"]]) for each in call("planning.links.list")["items"]}
    assert arrows == {("before", "both"), ("both", "after")}

    box.undo()
    assert [_content(task) for task in call("planning.tasks.list")["items"]] == [_content(task) for task in old]
    assert [_content(link) for link in call("planning.links.list")["items"]] == [_content(link) for link in links]


def _content(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in {"rev", "updated_at"}}


def test_a_merge_that_would_close_a_ring_writes_nothing(call: Call) -> None:
    for _ in "abc":
        create(call)
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    call("planning.link", source="TASK-2", target="TASK-3", kind="blocks")
    assert failure(call, "conflict", "planning.tasks.merge", ids=["TASK-1", "TASK-3"])["cycle"]
    assert len(call("planning.tasks.list")["items"]) == 3
    assert len(call("planning.links.list")["items"]) == 2


@pytest.mark.parametrize("ids", [["TASK-1", "TASK-1"], ["TASK-1"]])
def test_a_merge_of_one_is_refused(call: Call, ids: list[str]) -> None:
    create(call)
    failure(call, "invalid", "planning.tasks.merge", ids=ids)


def test_a_closed_task_is_not_merged(call: Call) -> None:
    create(call)
    create(call)
    call("planning.tasks.finish", id="TASK-2")
    failure(call, "conflict", "planning.tasks.merge", ids=["TASK-1", "TASK-2"])


def test_a_verb_is_held_to_if_rev(call: Call) -> None:
    task = create(call)
    call("planning.tasks.update", id=task["id"], title="changed")
    assert failure(call, "stale", "planning.tasks.start", id=task["id"], if_rev=1)["current"]["title"] == "changed"
    call("planning.tasks.start", id=task["id"], if_rev=2)
