"""Execution in memory, with a world to act on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coder_local.testing.memory import sandbox
from coder_plugins.execution import domain as execution
from coder_plugins.planning import domain as planning

from . import world as worlds
from .bench import Bench
from .world import State


@pytest.fixture
def world() -> State:
    return worlds.renew()


@pytest.fixture
def plugins() -> list[Any]:
    """The plugins that are loaded; a module of tests may say others."""
    return [execution, worlds.world]


@pytest.fixture
async def bench(tmp_path: Path, world: State, plugins: list[Any]) -> AsyncIterator[Bench]:
    with sandbox(*plugins) as box:
        bench = Bench(box, tmp_path, world)
        await bench.engine.start()
        yield bench
        await bench.crash()


@pytest.fixture
def with_planning() -> Any:
    return planning
