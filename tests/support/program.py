"""The program under test: from source, and as the one-folder build.

A test module takes the fixture `program` by importing it, and starts what it tests by these words.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from coder_ipc import program as _program

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "dist" / "coder-local" / ("coder-local.exe" if sys.platform == "win32" else "coder-local")
CURE = "make it with: python scripts/build.py"


def frozen() -> list[str]:
    """Return the words that start the one-folder build; without one the test is skipped, under CI it fails."""
    if not BUILT.is_file():
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(f"there is no {BUILT}; {CURE}")
        pytest.skip(f"there is no {BUILT}; {CURE}")
    return [str(BUILT)]


@pytest.fixture(params=["source", "frozen"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """The words that start the program, to put `serve` and the like behind."""
    return frozen() if request.param == "frozen" else _program.command()
