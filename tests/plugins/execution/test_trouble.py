"""What goes wrong beside a step is no failure of the step: a full disk, a turn that fails, a kind that is odd."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Locked
from coder_plugins.execution.engine import attempt, turn
from coder_plugins.execution.engine import engine as engines
from coder_plugins.execution.machine import attempts

from .bench import Bench, step, work


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BACK_OFF", (0.01,))


def failing(function: Any, error: Exception, times: int) -> tuple[Callable[..., Any], list[int]]:
    """Return a function that fails some times before it does what it should, and a list that counts its calls."""
    calls: list[int] = []

    def inner(*args: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return function(*args)

    return inner, calls


async def test_a_turn_that_fails_takes_no_result_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    id = bench.start(work("a", hold=True), work("b", "a"))
    await bench.world.until(lambda: bench.world.begun)
    claim, calls = failing(turn._claim, RuntimeError("some other run"), 4)
    monkeypatch.setattr(turn, "_claim", claim)
    bench.world.let_go()
    assert (await bench.until(id))["status"] == "succeeded"
    assert len(calls) > 4
    assert [each["state"] for each in bench.attempts(id, "a")] == ["done"]
