"""A disk that a program fills with its own output: its result waits until there is room, and nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coder_ipc import RemoteError
from coder_local.testing.daemon import RunningDaemon, running

from .bench import command, step

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
OUTPUT = 900_000
FILL = f"""
import os, sys
with open("begun", "a") as file:
    file.write("x")
os.write(1, b'"' + b"a" * {OUTPUT} + b'"')
sys.stdout.flush()
for _ in range({32 * MIB} // 65536):  # more than the disk has
    os.write(2, b"b" * 65536)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a tmpfs can be mounted on Linux, by root, only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Full:
    """A run whose program has filled the disk, so that its result cannot be written; `ballast` is what can be freed."""

    def __init__(self, disk: Path, work: Path) -> None:
        self.data_dir = disk / "data"
        self.ballast = disk / "ballast"
        self.ballast.write_bytes(b"\0" * 6 * MIB)
        self.work = work

    def fill(self, daemon: RunningDaemon) -> str:
        """Start the run, and return its id when it says that nothing can be written."""
        steps = [
            command("fill", sys.executable, "-c", FILL, output="json"),
            step("after", "file_edit", {"path": "after", "content": "done"}, needs=["fill"]),
        ]
        asked: dict[str, Any] = {"steps": steps, "folder": str(self.work)}
        with pytest.raises(RemoteError) as caught:
            daemon.call("execution.start", **asked)
        assert caught.value.data is not None
        run = daemon.call("execution.start", **asked, confirm=caught.value.data["confirm"])["run"]["id"]
        found = until(lambda: self.get(daemon, run)["trouble"] and self.get(daemon, run))
        assert "disk is full" in found["trouble"]
        assert (found["run"]["status"], found["counts"]) == ("running", {"running": 1, "pending": 1})
        return str(run)

    def get(self, daemon: RunningDaemon, run: str) -> dict[str, Any]:
        return dict(daemon.call("execution.runs.get", id=run))

    def ends_well(self, daemon: RunningDaemon, run: str) -> None:
        """Wait for the run to succeed, and see to it that nothing was lost or done twice."""
        found = until(lambda: (view := self.get(daemon, run))["run"]["finished_at"] and view)
        assert (found["run"]["status"], found["trouble"]) == ("succeeded", None)
        (filled,) = [each for each in found["steps"] if each["key"] == "fill"]
        assert filled["output"]["json"] == "a" * OUTPUT
        assert (self.work / "begun").read_text() == "x"
        assert (self.work / "after").read_text() == "done"
        recorded = daemon.call("execution.steps.get", run=run, step="fill")["attempts"]
        assert [(each["state"], each["exit_code"]) for each in recorded] == [("done", 0)]
        assert recorded[0]["log_bytes"] > OUTPUT


def until(check: Callable[[], Any]) -> Any:
    """Ask until something is so: who cannot write cannot say it either."""
    end = time.monotonic() + 30
    while not (found := check()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.fixture
def full(disk: Path, tmp_path: Path) -> Full:
    work = tmp_path / "work"
    work.mkdir()
    return Full(disk, work)


def test_the_result_is_written_when_there_is_room_again(full: Full) -> None:
    with running(full.data_dir) as daemon:
        run = full.fill(daemon)
        assert not (full.work / "after").exists()
        full.ballast.unlink()
        full.ends_well(daemon, run)
        assert daemon.call("daemon.status")["pid"] == daemon.runtime.pid


def test_a_crash_while_the_disk_is_full_loses_no_result(full: Full) -> None:
    with running(full.data_dir) as daemon:
        run = full.fill(daemon)
        process = psutil.Process(daemon.runtime.pid)
        process.kill()
        psutil.wait_procs([process], timeout=10)
    full.ballast.unlink()
    with running(full.data_dir) as daemon:
        full.ends_well(daemon, run)
