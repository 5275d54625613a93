from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_ipc import program as own
from tests.support.program import frozen

from .family import Family, family
from .world import World

if sys.platform != "linux":
    collect_ignore_glob = ["test_attach.py", "test_kill*.py", "test_handover.py", "test_reconnects.py"]


@pytest.fixture(scope="module", params=["source", "frozen"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """The words that start the program under test."""
    return frozen() if request.param == "frozen" else own.command()


@pytest.fixture
def kin() -> Iterator[Family]:
    """All processes that come of the test; none outlives it."""
    with family() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, program: list[str], kin: Family) -> Iterator[World]:
    """A data directory and the program; what it starts is ended with the test."""
    with World(tmp_path, program, kin) as made:
        yield made
