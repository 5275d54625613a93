"""The program under test: from source, and as the one-folder build.

A test module takes the fixture `program` by importing it, and starts what it tests by these words.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from coder_ipc import program as _program

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "dist" / "coder-local" / ("coder-local.exe" if sys.platform == "win32" else "coder-local")
CURE = "make it with: python scripts/build.py"


def frozen() -> list[str]:
    """Return the words that start the one-folder build; without one of these sources the test is skipped, or fails.

    It fails under CI, where the build is made before the tests.
    """
    if not _is_current():
        skip_for_want_of(f"there is no build of these sources in {BUILT.parent.relative_to(ROOT)}; {CURE}")
    return [str(BUILT)]


def skip_for_want_of(what: str) -> NoReturn:
    """Skip a test for what is not there; under CI, where all that tests need is installed, fail it."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(what)
    pytest.skip(what)


@functools.cache
def _is_current() -> bool:
    asked = [sys.executable, str(ROOT / "scripts" / "build.py"), "--is-current"]
    return subprocess.run(asked, check=False).returncode == 0


@pytest.fixture(params=["source", "frozen"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """The words that start the program, to put `serve` and the like behind."""
    return frozen() if request.param == "frozen" else _program.command()
