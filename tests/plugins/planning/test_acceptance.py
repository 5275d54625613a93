"""The acceptance examples through the dispatcher, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import coder_plugins.execution
from coder_local._store.clock import FakeClock
from coder_local.testing.memory import Sandbox, sandbox
from tests.plugins.planning import acceptance


@pytest.fixture
def box(planning: Path, today: date) -> Iterator[Sandbox]:
    """Planning with execution beside it, which examples on plans ask."""
    noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    execution = Path(coder_plugins.execution.__file__).parent
    with sandbox(planning, execution, clock=FakeClock(round(noon.timestamp() * 1000))) as box:
        yield box


@pytest.mark.parametrize("example", acceptance.EXAMPLES, ids=lambda each: each.__name__)
def test_example(example: Callable[[acceptance.Call, date], None], call: Callable[..., Any], today: date) -> None:
    example(call, today)


def test_a_key_between_a0_and_a1_is_a0v_and_before_a0_is_zz(call: Callable[..., Any]) -> None:
    tasks = [call("planning.tasks.create", title=title) for title in "abc"]
    assert [task["rank"] for task in tasks] == ["a0", "a1", "a2"]
    assert call("planning.tasks.reorder", id=tasks[2]["id"], after="TASK-1", before="TASK-2")["rank"] == "a0V"
    assert call("planning.tasks.reorder", id=tasks[2]["id"], before="TASK-1")["rank"] == "Zz"


def test_health_on_the_days_of_the_example(call: Callable[..., Any]) -> None:
    project = acceptance.new_project(call, target="2026-12-18")
    for at in ("2026-10-01T12:00:00Z", "2026-11-05T12:00:00Z"):
        key = call("planning.tasks.create", title=at, project=project)["key"]
        call("planning.tasks.finish", id=key, at=at)
    acceptance.new_tasks(call, project, left=1, too=1)
    found = call("planning.projects.health", id=project)
    assert (found["p50"], found["p85"], found["status"]) == ("2026-12-11", "2027-01-08", "at_risk")
