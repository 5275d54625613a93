"""A real daemon is killed again and again while real programs write: each line is there once, or somebody was asked.

It goes on for half a minute, under CI for two minutes, and with CODER_LOCAL_LONG_TESTS for an hour.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import ConnectionLost, RemoteError, spawn
from coder_ipc.runtime import Runtime
from coder_local.testing.daemon import RunningDaemon, command, environment, stop

from . import checks
from .harness import ENDED

SECONDS = 3_600.0 if os.environ.get("CODER_LOCAL_LONG_TESTS") else 120.0 if os.environ.get("CI") else 30.0
LONGEST_LIFE = 1.5
"""Seconds that a daemon lives at most before it is killed."""
OPEN_RUNS = 6
"""Runs that go on at once at most."""
TO_THE_END = 120.0
pytestmark = [pytest.mark.alone, pytest.mark.timeout(SECONDS + 2 * TO_THE_END)]
if sys.platform == "win32":
    pytest.skip("the lines are written by a POSIX shell", allow_module_level=True)


def shell(key: str, *needs: str, seconds: float, **rest: Any) -> dict[str, Any]:
    """Return a step that writes one line, in the middle of some time."""
    line = f'sleep {seconds:.3f}; echo "$CODER_LOCAL_STEP" >> lines; sleep {seconds:.3f}'
    return {"key": key, "kind": "command", "needs": list(needs), "input": {"shell": line}, **rest}


class Loop:
    """A data directory, its daemon of the moment, and the runs that it was given."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.chance = chance
        self.runs: dict[str, Path] = {}
        """Folders of the runs."""
        self.open: set[str] = set()
        self.kills = 0
        self.asked: set[tuple[str, str]] = set()
        self.kept = checks.Kept()

    def spawn(self) -> Runtime:
        return spawn.attach_or_spawn(self.data, command(), env=environment())

    def kill(self, found: Runtime) -> None:
        """Kill the daemon, and only it; what it has begun goes on."""
        os.kill(found.pid, signal.SIGKILL)
        assert spawn.wait_stopped(found, 20)
        self.kills += 1
        self.check()

    def start(self, daemon: RunningDaemon) -> None:
        """Start a run. It is looked up afterwards: a kill may come before the answer does."""
        work = self.folder / f"work-{self.chance.getrandbits(48):x}"
        work.mkdir()
        steps = [
            shell("first", seconds=self.chance.uniform(0, 0.1)),
            *(
                shell(f"side-{number}", "first", seconds=self.chance.uniform(0, 0.3), resources=["port"] * (number < 2))
                for number in range(4)
            ),
            {"key": "edit", "kind": "file_edit", "needs": ["first"], "input": {"path": "made", "content": "made\n"}},
            {"key": "sleep", "kind": "timer", "needs": ["first"], "input": {"duration": "PT0.2S"}},
            shell("each", "edit", seconds=self.chance.uniform(0, 0.1), foreach=["a", "b", "c"], max_parallel=2),
            shell("last", "each", "sleep", "side-0", "side-1", "side-2", "side-3", seconds=0.01),
        ]
        self.runs[str(work)] = work
        with suppress(ConnectionLost):
            agree(daemon, "execution.start", steps=steps, folder=str(work), name=work.name)

    def base(self) -> sqlite3.Connection:
        """Open the database to be read, in one snapshot: a daemon may be writing."""
        base = sqlite3.connect(f"{(self.data / 'coder-local.db').as_uri()}?mode=ro", uri=True, timeout=20)
        base.isolation_level = None
        base.execute("BEGIN")
        return base

    def check(self) -> None:
        """Hold the database to its invariants, whatever the daemon was about when it was killed."""
        lines = {folder: written(work) for folder, work in self.runs.items()}  # before: no later one than the snapshot
        with closing(self.base()) as base:
            if not base.execute("SELECT 1 FROM sqlite_master WHERE name = 'execution_runs'").fetchone():
                return
            faults = [*checks.always(base), *self.kept.ends_stand(base)]
            effects = [(run, key, 1) for run, work in self.by_id(base).items() for key in lines[str(work)]]
            faults += checks.effects_had_an_intent(base, effects)
            assert not faults, "\n".join(faults)
            self.open = {
                run for run, status in base.execute("SELECT id, status FROM execution_runs") if status not in ENDED
            }

    def by_id(self, base: sqlite3.Connection) -> dict[str, Path]:
        return {run: self.runs[folder] for run, folder in base.execute("SELECT id, folder FROM execution_runs")}

    def live(self) -> None:
        """Let a daemon live for a while, give it something to do, answer what it asks, and kill it."""
        found = self.spawn()
        daemon = RunningDaemon(self.data, found)
        if len(self.open) < OPEN_RUNS:
            self.start(daemon)
        self.answer(daemon)
        time.sleep(self.chance.uniform(0, LONGEST_LIFE))
        self.kill(found)

    def answer(self, daemon: RunningDaemon) -> None:
        """Answer what a kill left undecided, as a person does who looks into the file."""
        waits = daemon.call("execution.waits.list", status="open", kind="decision", limit=200)
        for each in waits["items"]:
            with closing(self.base()) as base:
                work = self.by_id(base)[each["run"]]
            self.asked.add((each["run"], each["key"]))
            choice = "done" if each["key"] in written(work) else "retry"
            agree(daemon, "execution.runs.resume", id=each["run"], step=each["key"], choice=choice)

    def finish(self) -> None:
        """Let the last daemon bring all runs to their ends."""
        found = self.spawn()
        daemon = RunningDaemon(self.data, found)
        try:
            deadline = time.monotonic() + TO_THE_END
            while time.monotonic() < deadline:
                self.check()
                if not self.open:
                    return
                self.answer(daemon)
                time.sleep(0.2)
            with closing(self.base()) as base:
                left = base.execute("SELECT run, key, status FROM execution_steps WHERE finished_at IS NULL").fetchall()
            raise AssertionError(f"these do not come to their ends: {left}")
        finally:
            stop(self.data, found)

    def judge(self) -> Counter[str]:
        """Hold the lines to the steps: each once."""
        lines: Counter[str] = Counter()
        with closing(self.base()) as base:
            for run, work in self.by_id(base).items():
                found = Counter(written(work))
                for key, status in base.execute(
                    "SELECT key, status FROM execution_steps WHERE run = ? AND kind = 'command' AND role <> 'fan_out'",
                    (run,),
                ):
                    assert status == "succeeded", f"{run}/{key} is {status}"
                    assert found[key] == 1, f"{run}/{key} wrote {found[key]} lines; it was asked about: {self.asked}"
                assert (work / "made").read_text() == "made\n"
                lines += found
        return lines


def agree(daemon: RunningDaemon, operation: str, /, **input: Any) -> Any:
    """Call an operation, and agree to it as the person who was asked."""
    try:
        return daemon.call(operation, **input)
    except RemoteError as error:
        if error.kind != "needs_confirmation" or error.data is None:
            raise
        return daemon.call(operation, **input, confirm=error.data["confirm"])


def written(work: Path) -> list[str]:
    """Return the steps that have written their lines."""
    path = work / "lines"
    return path.read_text().splitlines() if path.exists() else []


def test_nothing_is_lost_or_repeated(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    loop = Loop(tmp_path, random.Random())
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        loop.live()
    loop.finish()
    lines = loop.judge()
    for name, value in (("kills", loop.kills), ("lines", lines.total()), ("asked", len(loop.asked))):
        record_property(name, value)
    assert loop.kills >= SECONDS / 5
    assert lines.total() >= loop.kills, "the daemon had something to do"
