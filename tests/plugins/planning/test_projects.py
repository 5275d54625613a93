"""Projects: keys, dates, units, and ends that ask what becomes of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coder_local.testing.memory import Sandbox
from tests.plugins.planning.acceptance import failure

Call = Callable[..., Any]


def create(call: Call, key: str = "PLAN", **fields: Any) -> dict[str, Any]:
    return call("planning.projects.create", name="A project", key=key, **fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "P"}, "/key"),
        ({"key": "plan"}, "/key"),
        ({"key": "1PLAN"}, "/key"),
        ({"key": "PLANPLANPLA"}, "/key"),
        ({"key": "TASK"}, "/key"),
        ({"start": "2026-11-02", "target": "2026-11-01"}, "/target"),
        ({"target": "2026-13-01"}, "/target"),
        ({"unit": "days"}, "/unit"),
    ],
)
def test_a_bad_project_is_refused_by_field(call: Call, fields: dict[str, Any], field: str) -> None:
    data = failure(call, "invalid", "planning.projects.create", **{"name": "A", "key": "PLAN", **fields})
    assert data["faults"][0]["field"] == field


def test_a_key_is_unique(call: Call) -> None:
    create(call)
    failure(call, "conflict", "planning.projects.create", name="Another", key="PLAN")


def test_a_project_with_tasks_is_not_deleted(call: Call) -> None:
    project = create(call)
    task = call("planning.tasks.create", title="a", project="PLAN")
    assert failure(call, "conflict", "planning.projects.delete", id=project["id"]) == {"tasks": 1}
    call("planning.tasks.delete", id=task["id"])
    call("planning.projects.delete", id=project["id"])


def test_a_project_has_one_unit(call: Call) -> None:
    project = create(call)
    call("planning.tasks.create", title="a", project="PLAN", estimate={"likely": 60})
    failure(call, "conflict", "planning.projects.update", id=project["id"], unit="points")


def test_completing_asks_what_becomes_of_open_tasks(call: Call) -> None:
    project = create(call)
    call("planning.tasks.create", title="a", project="PLAN")
    assert failure(call, "conflict", "planning.projects.complete", id="PLAN") == {"open": ["PLAN-1"], "count": 1}
    assert failure(call, "conflict", "planning.projects.update", id=project["id"], status="completed")["count"] == 1


@pytest.mark.parametrize(("word", "status"), [("finish", "done"), ("drop", "dropped")])
def test_completing_closes_open_tasks_and_one_undo_opens_them(box: Sandbox, word: str, status: str) -> None:
    create(box.call)
    rule = {"mode": "after_done"}
    for number in range(2):
        box.call("planning.tasks.create", title=str(number), project="PLAN", recurrence=rule)
    answer = box.call("planning.projects.complete", id="PLAN", open_tasks=word)
    assert (answer["project"]["status"], answer["closed"]) == ("completed", ["PLAN-1", "PLAN-2"])
    assert {task["status"] for task in box.call("planning.tasks.list")["items"]} == {status}
    box.undo()
    assert {task["status"] for task in box.call("planning.tasks.list")["items"]} == {"todo"}
    assert box.call("planning.projects.list")["items"][0]["status"] == "active"


def test_completing_moves_open_tasks(call: Call) -> None:
    create(call)
    other = create(call, "NEXT")
    call("planning.tasks.create", title="a", project="PLAN")
    failure(call, "invalid", "planning.projects.complete", id="PLAN", open_tasks="move")
    failure(call, "invalid", "planning.projects.complete", id="PLAN", open_tasks="move", to="PLAN")
    failure(call, "not_found", "planning.projects.complete", id="PLAN", open_tasks="move", to="NONE")
    assert call("planning.projects.complete", id="PLAN", open_tasks="move", to="NEXT")["moved"] == ["PLAN-1"]
    assert call("planning.tasks.find", task="PLAN-1")["project"] == other["id"]
    failure(call, "conflict", "planning.tasks.create", title="b", project="PLAN")


def test_a_running_timer_keeps_a_project_open(call: Call) -> None:
    project = create(call)
    call("planning.tasks.create", title="a", project="PLAN")
    call("planning.time.start", task="PLAN-1")
    for name, input in (
        ("planning.projects.archive", {"id": "PLAN"}),
        ("planning.projects.complete", {"id": "PLAN", "open_tasks": "finish"}),
        ("planning.projects.complete", {"id": "PLAN", "open_tasks": "drop"}),
    ):
        assert failure(call, "conflict", name, **input)["running"] == ["PLAN-1"]
    call("planning.projects.archive", id="PLAN", stop_timers=True)
    assert call("planning.times.list")["items"][0]["stopped_at"] is not None
    assert call("planning.projects.get", id=project["id"])["archived_at"] is not None


def test_an_archived_or_paused_project_is_left_out_unless_named(call: Call) -> None:
    project = create(call)
    call("planning.tasks.create", title="a", project="PLAN")
    for hide, show in (
        (
            lambda: call("planning.projects.archive", id="PLAN"),
            lambda: call("planning.projects.archive", id="PLAN", archived=False),
        ),
        (
            lambda: call("planning.projects.update", id=project["id"], status="paused"),
            lambda: call("planning.projects.update", id=project["id"], status="active"),
        ),
    ):
        hide()
        assert call("planning.ready")["total"] == call("planning.next")["total"] == 0
        assert call("planning.ready", project="PLAN")["total"] == 1
        show()
        assert call("planning.ready")["total"] == 1


def test_health_without_a_target_or_a_history_is_unknown(call: Call) -> None:
    create(call)
    call("planning.tasks.create", title="a", project="PLAN")
    assert call("planning.projects.health", id="PLAN")["status"] == "unknown"
    create(call, "SOON", target="2026-12-01")
    call("planning.tasks.create", title="a", project="SOON")
    found = call("planning.projects.health", id="SOON")
    assert found["status"] == "unknown"
    assert "at least 4 weeks" in found["reasons"][0]
    failure(call, "not_found", "planning.projects.health", id="NONE")
