"""Time: one running timer for each actor, and asking what to keep of a forgotten one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from coder_local.api import Conflict
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.formats import beads
from coder_plugins.planning.records import PlanningSettings
from tests.plugins.planning.acceptance import failure

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def tasks(call: Call) -> None:
    """Two tasks, TASK-1 and TASK-2."""
    for title in "ab":
        call("planning.tasks.create", title=title)


def test_a_timer_is_stopped_with_its_minutes(box: Sandbox) -> None:
    entry = box.call("planning.time.start", task="TASK-1")
    assert (entry["actor"], entry["stopped_at"], entry["minutes"]) == ("user", None, None)
    box.clock.advance(25 * 60)
    stopped = box.call("planning.time.stop")
    assert (stopped["id"], stopped["minutes"]) == (entry["id"], 25)
    said = box.events[-1]
    assert (said.type, said.subject) == ("planning.time.recorded", f"planning.time/{entry['id']}")


def test_one_timer_runs_for_each_actor(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    assert failure(box.call, "conflict", "planning.time.start", task="TASK-2")["task"] == "TASK-1"
    agent = box.as_agent("helper")
    agent.call("planning.time.start", task="TASK-1")
    box.clock.advance(600)
    box.call("planning.time.start", task="TASK-2", switch=True)
    entries = box.call("planning.times.list")["items"]
    assert [(entry["actor"], entry["minutes"]) for entry in entries] == [
        ("user", 10),
        ("agent:helper", None),
        ("user", None),
    ]


def test_a_second_timer_is_refused_by_update_and_undo_too(box: Sandbox) -> None:
    first = box.call("planning.time.start", task="TASK-1")
    box.clock.advance(60)
    box.call("planning.time.stop")
    box.call("planning.time.start", task="TASK-2")
    failure(box.call, "conflict", "planning.times.update", id=first["id"], stopped_at=None, minutes=None)
    stopping = box.call("planning.times.history", id=first["id"])["items"][0]["change_set"]
    with pytest.raises(Exception, match="a timer of user runs"):
        box.undo(stopping)


def test_a_forgotten_timer_asks_what_to_keep(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    box.clock.advance(11 * 3600)
    asked = failure(box.call, "conflict", "planning.time.stop")
    assert asked["minutes"] == 660
    failure(box.call, "conflict", "planning.tasks.finish", id="TASK-1")
    failure(box.call, "invalid", "planning.time.stop", keep=661)
    assert box.call("planning.time.stop", keep=90)["minutes"] == 90


def test_how_long_is_too_long_is_a_setting(box: Sandbox) -> None:
    box.configure(PlanningSettings(longest_timer=5))
    box.call("planning.time.start", task="TASK-1")
    box.clock.advance(6 * 60)
    failure(box.call, "conflict", "planning.time.stop")
    assert box.call("planning.time.stop", keep=0)["minutes"] == 0


def test_finishing_a_task_stops_its_timer(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    box.clock.advance(120)
    box.call("planning.tasks.finish", id="TASK-1")
    assert [entry["minutes"] for entry in box.call("planning.times.list")["items"]] == [2]
    failure(box.call, "conflict", "planning.time.start", task="TASK-1")
    failure(box.call, "conflict", "planning.time.stop")


def test_deleting_a_task_stops_its_timer_and_one_undo_starts_both_again(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    box.clock.advance(180)
    box.call("planning.tasks.delete", id="TASK-1")
    assert [entry["minutes"] for entry in box.call("planning.times.list")["items"]] == [3]
    failure(box.call, "conflict", "planning.time.stop")
    box.undo()
    assert box.call("planning.tasks.find", task="TASK-1")["deleted_at"] is None
    assert box.call("planning.time.stop")["minutes"] == 3


def test_dropping_a_task_and_completing_its_project_stop_its_timer(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    box.call("planning.tasks.drop", id="TASK-1")
    failure(box.call, "conflict", "planning.time.stop")
    box.call("planning.projects.create", name="Plan", key="PLAN")
    box.call("planning.tasks.create", title="c", project="PLAN")
    box.call("planning.time.start", task="PLAN-1")
    box.call("planning.projects.complete", id="PLAN", open_tasks="drop", stop_timers=True)
    failure(box.call, "conflict", "planning.time.stop")


def test_a_task_under_a_timer_is_not_taken_away_by_undo(box: Sandbox) -> None:
    made = box.call("planning.tasks.create", title="c")
    making = box.call("planning.tasks.history", id=made["id"])["items"][0]["change_set"]
    box.call("planning.time.start", task=made["id"])
    with pytest.raises(Conflict, match="a timer of user runs on TASK-3"):
        box.undo(making)


def test_an_import_that_closes_a_task_stops_its_timer(box: Sandbox) -> None:
    record = {"id": "bd-1", "title": "a", "status": "open", "issue_type": "task", "priority": 2}

    def bring(**fields: Any) -> Any:
        (task,) = beads.parse(json.dumps(record | fields)).tasks
        return box.call("planning.import_records", format="beads", tasks=[msgspec.to_builtins(task)])

    bring()
    box.call("planning.time.start", task="BD-1")
    assert bring(status="closed", closed_at="2026-11-05T00:00:00Z")["updated"] == 1
    failure(box.call, "conflict", "planning.time.stop")


def test_time_without_a_timer(call: Call) -> None:
    record = "planning.times.create"
    entry = call(record, task="TASK-1", started_at="2026-11-06T09:00:00+01:00", stopped_at="2026-11-06T10:30:00+01:00")
    assert (entry["started_at"], entry["minutes"]) == ("2026-11-06T08:00:00.000Z", 90)
    entry = call(record, task="TASK-1", started_at="2026-11-06T09:00:00Z", minutes=15)
    assert entry["stopped_at"] == "2026-11-06T09:15:00.000Z"


@pytest.mark.parametrize(
    "input",
    [
        {},
        {"minutes": -1},
        {"stopped_at": "2026-11-06T08:59:00Z"},
        {"stopped_at": "2026-11-06T10:00:00Z", "minutes": 62},
        {"stopped_at": "2026-11-06T10:00:00"},
    ],
)
def test_a_bad_entry_is_refused(call: Call, input: dict[str, Any]) -> None:
    failure(call, "invalid", "planning.times.create", task="TASK-1", started_at="2026-11-06T09:00:00Z", **input)
    assert call("planning.times.list")["items"] == []


@pytest.mark.parametrize("at", ["2026-11-06T13:00:00Z", "tomorrow"])
def test_a_timer_does_not_start_later(call: Call, at: str) -> None:
    failure(call, "invalid", "planning.time.start", task="TASK-1", at=at)


def test_a_timer_is_not_stopped_before_it_started(box: Sandbox) -> None:
    box.call("planning.time.start", task="TASK-1")
    failure(box.call, "invalid", "planning.time.stop", at="2026-11-06T11:00:00Z")
