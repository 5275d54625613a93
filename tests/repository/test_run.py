"""The first thing a newcomer runs: it ends well, runs again, and says what went wrong when something did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_ipc import spawn
from coder_ipc.client import Client
from coder_ipc.runtime import read

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.alone

STEPS = [str(number) for number in range(1, 13)]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose daemon is stopped at the end, whatever became of the test."""
    folder = tmp_path / "data"
    yield folder
    found = read(folder)
    if found is not None and not spawn.wait_stopped(found, 0):
        with Client.connect(folder) as client:
            client.call("daemon.stop")
        assert spawn.wait_stopped(found, 20)


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(
        command,
        env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def steps(output: str) -> list[str]:
    return re.findall(r"^(\d+)\. ", output, re.MULTILINE)


def number(pattern: str, output: str) -> int:
    found = re.search(pattern, " ".join(output.split()))
    assert found, output
    return int(found[1])


def test_the_tour_shows_the_main_job_and_run_again_it_doubles_nothing(data_dir: Path) -> None:
    first = run("tour.py", "--once", "--data-dir", data_dir)
    assert first.returncode == 0, first.stdout + first.stderr
    assert steps(first.stdout) == STEPS
    created = number(r"beads-\w+\.jsonl \(beads\) -> project \w+: (\d+) created", first.stdout)
    assert created >= 50
    ready = number(r"(\d+) tasks of \w+ are ready", first.stdout)
    assert number(r"Ready before: (\d+), now", first.stdout) == ready
    assert number(r"Ready again: (\d+)\.", first.stdout) == ready
    assert "waits for " in first.stdout
    assert re.search(r"= .*priority 6.* project 1", first.stdout)
    assert number(r"A day lost on one of these (\d+) is a day lost", first.stdout) > 0
    assert number(r"(\d+) planning\.task\.created", first.stdout) > created
    assert "planning.task.completed" in first.stdout
    assert_the_run_was_cut_off_and_nothing_ran_twice(first)
    assert "The daemon has stopped." in first.stdout
    assert "\x1b" not in first.stdout
    assert read(data_dir) is None

    second = run("tour.py", "--once", "--data-dir", data_dir)
    assert second.returncode == 0, second.stdout + second.stderr
    unchanged = r"beads-\w+\.jsonl \(beads\) -> project \w+: 0 created, 0 updated, (\d+) unchanged"
    assert number(unchanged, second.stdout) == created
    assert "planning.task.created" not in second.stdout
    assert number(r"(\d+) tasks of \w+ are ready", second.stdout) == ready


def assert_the_run_was_cut_off_and_nothing_ran_twice(tour: subprocess.CompletedProcess[str]) -> None:
    killed = number(r"kill -9: the daemon \(pid (\d+)\) dies while the step `test` runs", tour.stderr)
    started = number(r"Started: pid (\d+)", tour.stdout)
    assert killed == started
    text = " ".join(tour.stdout.split())
    assert f"The daemon with pid {killed} was killed; the step `test` went on without it" in text
    assert re.search(r"and [\d.]+ (bytes|KiB) of its output were recovered", text)
    assert "9 attempts at 9 steps; the note stands in README.md once, and the server was asked once." in text
    assert "approved by the tour, in your name" in text
    recorded = tour.stdout.partition("12. The flight recorder")[2]
    attempts = re.findall(r"^ +1\. done, (\w+), [\d.]+ m?s", recorded, re.MULTILINE)
    assert Counter(attempts) == {"adoptable": 7, "checkable": 1, "repeatable": 1}
    assert re.search(r"^ +test  command  succeeded$", recorded, re.MULTILINE)


def test_a_daemon_that_others_use_is_not_killed_and_the_checkout_stays_as_it_was(data_dir: Path) -> None:
    before = (ROOT / "README.md").read_bytes()
    run("tour.py", "--no-tour", "--data-dir", data_dir)
    with Client.connect(data_dir):
        tour = run("tour.py", "--once", "--data-dir", data_dir)
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "one other program uses this daemon, so it is not killed" in " ".join(tour.stdout.split())
    assert "kill -9: " not in tour.stdout + tour.stderr
    assert (ROOT / "README.md").read_bytes() == before


def test_the_daemon_goes_on_and_a_second_run_attaches(data_dir: Path) -> None:
    first = run("tour.py", "--no-tour", "--data-dir", data_dir)
    assert first.returncode == 0, first.stdout + first.stderr
    assert steps(first.stdout) == []
    command = re.search(r"Reach it with:  (.*)", first.stdout)
    assert command
    assert str(data_dir) in command[1]
    assert command[1].endswith("status")
    pid = number(r"Started: pid (\d+)", first.stdout)
    second = run("tour.py", "--no-tour", "--once", "--data-dir", data_dir)
    assert number(r"It runs already: pid (\d+)", second.stdout) == pid
    assert read(data_dir) is None


def test_it_runs_on_a_narrow_terminal_with_an_old_code_page(data_dir: Path) -> None:
    tour = run("tour.py", "--once", "--data-dir", data_dir, COLUMNS="40", PYTHONIOENCODING="cp1252")
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert steps(tour.stdout) == STEPS


def test_a_failure_in_the_middle_says_what_failed_and_how_to_go_on(data_dir: Path) -> None:
    run("tour.py", "--no-tour", "--data-dir", data_dir)
    with Client.connect(data_dir) as client:
        client.call("plugins.disable", {"name": "planning"})
    stopped = run("tour.py", "--once", "--data-dir", data_dir)
    assert stopped.returncode == 1
    text = " ".join(stopped.stdout.split())
    assert "The tour stopped at step 1. Import a list of issues: " in text
    assert "enable the plugin planning" in text
    assert "a second run goes on from there" in text
    assert "Traceback" not in stopped.stdout + stopped.stderr
    assert read(data_dir) is None


def test_a_daemon_that_cannot_start_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be", "utf-8")
    failed = run("tour.py", "--data-dir", folder)
    assert failed.returncode == 1
    assert "The daemon could not be reached" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr


@pytest.mark.skipif(not (ROOT / ".venv" / "setup-stamp").exists(), reason="the checkout was not set up by its scripts")
def test_the_one_command_sets_up_and_starts(data_dir: Path) -> None:
    started = run("run.py", "--no-tour", "--once", "--data-dir", data_dir)
    assert started.returncode == 0, started.stdout + started.stderr
    assert "The daemon has stopped." in started.stdout


def test_the_options_are_explained_on_a_bare_python() -> None:
    for script in ("run.py", "tour.py"):
        assert {"--once", "--no-tour", "--data-dir"} <= set(re.findall(r"--[a-z-]+", run(script, "--help").stdout))
