from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.process import Process
from tests.support.program import frozen

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def built() -> Path:
    """The program of the one-folder build."""
    return Path(frozen()[0])


@pytest.fixture
def daemon(tmp_path: Path, built: Path) -> Iterator[Process]:
    """A data directory for the build's daemon, which is not started yet; the test may kill it."""
    process = Process(tmp_path / "data", command=[str(built)])
    yield process
    process.kill()


@pytest.fixture
def run(tmp_path: Path, built: Path) -> Iterator[Run]:
    """Run a command of the build on the data directory, in a bare environment, and return how it ended."""

    def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        bare = {"PATH": os.environ["PATH"], "CODER_LOCAL_DATA_DIR": str(tmp_path / "data"), **env}
        return subprocess.run(
            [str(built), *arguments], env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    yield command
    if (tmp_path / "data").exists():
        command("stop")
