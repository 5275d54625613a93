"""The trace of a start is on disk at every moment, and tells how the starts before it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local._daemon import boot
from coder_local.testing.daemon import environment


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    boot.end(0)


def test_a_start_is_told_stage_by_stage_and_how_it_ended(tmp_path: Path) -> None:
    boot.begin(tmp_path, "1.2.3")
    boot.mark("import", plugin="planning")
    (found,) = boot.read(tmp_path)
    assert (found.about["version"], found.last, found.code, found.alive) == ("1.2.3", "import", None, True)
    assert [stage["stage"] for stage in found.stages] == ["lock", "import"]
    assert found.stages[1]["plugin"] == "planning"
    assert 0 < found.stages[0]["ms"] <= found.stages[1]["ms"]
    boot.end(65)
    (found,) = boot.read(tmp_path)
    assert (found.code, found.alive) == (65, False)
    boot.mark("after the end")
    assert len(boot.read(tmp_path)[0].stages) == 2


def test_only_the_last_starts_are_kept_and_the_running_one_goes_on(tmp_path: Path) -> None:
    for number in range(boot.KEPT + 3):
        boot.begin(tmp_path, f"{number}.0.0")
        boot.ready(tmp_path)
        boot.mark("later")
        boot.end(0)
    found = boot.read(tmp_path)
    assert [each.about["version"] for each in found] == [f"{number}.0.0" for number in range(3, boot.KEPT + 3)]
    assert [stage["stage"] for stage in found[-1].stages] == ["lock", "begun", "later"]
    assert (tmp_path / "logs" / boot.FILE).read_bytes().count(b'"begin"') == boot.KEPT


def test_a_daemon_that_never_gets_ready_does_not_fill_the_disk(tmp_path: Path) -> None:
    for _ in range(300):
        boot.begin(tmp_path, "1.0.0")
        boot.mark("x", text="y" * 500)
    assert (tmp_path / "logs" / boot.FILE).stat().st_size < 100_000
    assert len(boot.read(tmp_path)) == boot.KEPT


def test_lines_that_a_crash_cut_off_are_passed_over(tmp_path: Path) -> None:
    boot.begin(tmp_path, "1.0.0")
    path = tmp_path / "logs" / boot.FILE
    path.write_bytes(path.read_bytes() + b'{"stage": "hal\n\0\0\0\n[1]\n{"stage":"store","ms":1}\n')
    assert [stage["stage"] for stage in boot.read(tmp_path)[0].stages] == ["lock", "store"]


def test_a_folder_that_cannot_be_written_keeps_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    boot.begin(tmp_path, "1.0.0")
    boot.mark("ready")
    assert boot.read(tmp_path) == []


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_daemon_that_was_killed_leaves_the_stages_it_came_to(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "coder_local", "serve", "--data-dir", str(tmp_path), "--no-http"],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    (running,) = boot.read(tmp_path)
    assert running.alive
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (found,) = boot.read(tmp_path)
    assert (found.code, found.alive, found.about["pid"]) == (None, False, process.pid)
    stages = [stage["stage"] for stage in found.stages]
    assert stages[:4] == ["lock", "core", "store", "socket"]
