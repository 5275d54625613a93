"""Planning in memory, on the day that the acceptance examples are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import coder_plugins.planning
from coder_local._store.clock import FakeClock
from coder_local.testing.memory import Sandbox, sandbox

TODAY = date(2026, 11, 6)


@pytest.fixture
def today() -> date:
    return TODAY


@pytest.fixture
def planning() -> Path:
    """The folder of the plugin."""
    return Path(coder_plugins.planning.__file__).parent


@pytest.fixture
def box(planning: Path, today: date) -> Iterator[Sandbox]:
    noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
    clock = FakeClock(round(noon.timestamp() * 1000))
    with sandbox(planning, clock=clock) as box:
        yield box


@pytest.fixture
def call(box: Sandbox) -> Callable[..., Any]:
    def run(name: str, /, **input: Any) -> Any:
        return box.undo() if name == "changes.undo" else box.call(name, **input)

    return run
