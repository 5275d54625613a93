"""A real daemon killed with SIGKILL while a command runs: acceptance 2 and 3, and a command that simply goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coder_ipc import RemoteError
from coder_ipc.client import Client
from coder_local.testing.daemon import RunningDaemon, running

from .bench import command

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")]
ENDS = {"succeeded", "failed", "cancelled", "timed_out", "needs_decision"}


class Victim:
    """A data directory, a folder to work in, and a daemon that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.folder = folder / "work"
        self.folder.mkdir()
        self._block: Any = None
        self.daemon: RunningDaemon
        self.start_daemon()

    def start_daemon(self) -> None:
        self._block = running(self.data_dir)
        self.daemon = self._block.__enter__()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        process = psutil.Process(self.daemon.runtime.pid)
        os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs([process], timeout=10)

    def restart(self) -> None:
        self._block.__exit__(None, None, None)
        self.start_daemon()

    def close(self) -> None:
        self._block.__exit__(None, None, None)

    def call(self, name: str, /, **input: Any) -> Any:
        """Call, and confirm as the person would when asked to."""
        try:
            return self.daemon.call(name, **input)
        except RemoteError as error:
            if error.kind != "needs_confirmation" or error.data is None:
                raise
            return self.daemon.call(name, **input, confirm=error.data["confirm"])

    def start(self, *steps: dict[str, Any]) -> str:
        return self.call("execution.start", steps=list(steps), folder=str(self.folder))["run"]["id"]

    def until(self, id: str, *statuses: str) -> str:
        """Wait for what a run says of itself until it has one of some statuses; return it."""
        with self.daemon.client() as client, Limit(client):
            for said in client.items("execution.runs.follow", {"id": id}):
                if said["type"] == "run" and said["status"] in statuses:
                    return said["status"]
        raise AssertionError(self.call("execution.runs.get", id=id))

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def until_lines(self, name: str, count: int) -> None:
        end = time.monotonic() + 20
        while len(self.lines(name)) < count:
            assert time.monotonic() < end, f"{name} has {self.lines(name)}"
            time.sleep(0.005)

    def events(self, *types: str) -> list[str]:
        found = self.call("events.list", types=[f"execution.{each}" for each in types], limit=500)["items"]
        return [each["type"].removeprefix("execution.") for each in found]


class Limit:
    """Closes a connection after a while, so that a test that waits for nothing ends."""

    def __init__(self, client: Client) -> None:
        self._timer = threading.Timer(30, client.close)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    made = Victim(tmp_path)
    yield made
    made.close()


def three(**second: Any) -> list[dict[str, Any]]:
    """Return three steps, of which the second goes on until a file is there, and dies with the daemon."""
    wait = 'echo "$CODER_LOCAL_IDEMPOTENCY_KEY" >> two; while [ ! -e go ]; do sleep 0.02; done; echo end >> two'
    return [
        command("one", shell="echo x >> one"),
        command("two", shell=wait, needs="one", on_daemon_death="kill", more=second),
        command("three", shell="echo x >> three", needs="two"),
    ]


def killed_in_two(victim: Victim, **second: Any) -> str:
    """Start those steps, kill the daemon in the second, and start it again."""
    id = victim.start(*three(**second))
    victim.until_lines("two", 1)
    victim.kill()
    victim.restart()
    return id


def test_2_what_is_not_idempotent_is_asked_about_and_not_run_again(victim: Victim) -> None:
    id = killed_in_two(victim, idempotent=False)
    assert victim.until(id, *ENDS) == "needs_decision"
    view = victim.call("execution.runs.get", id=id)
    assert view["run"]["status"] == "needs_decision"
    assert {each["key"]: each["status"] for each in view["steps"]} == {
        "one": "succeeded", "two": "needs_decision", "three": "pending",
    }  # fmt: skip
    (wait,) = view["waits"]
    assert (wait["kind"], wait["key"], wait["choices"]) == ("decision", "two", ["retry", "done", "skip", "fail"])
    assert (len(victim.lines("one")), len(victim.lines("two")), victim.lines("three")) == (1, 1, [])
    victim.call("execution.runs.resume", id=id, step="two", choice="done", output={"by": "hand"})
    assert victim.until(id, *ENDS) == "succeeded"
    assert (len(victim.lines("two")), len(victim.lines("three"))) == (1, 1)


def test_3_what_is_idempotent_is_run_again_with_the_same_key(victim: Victim) -> None:
    id = killed_in_two(victim, idempotent=True)
    victim.until_lines("two", 2)
    (victim.folder / "go").touch()
    assert victim.until(id, *ENDS) == "succeeded"
    first, second, end = victim.lines("two")
    assert first == second == f"{id}/two"
    assert end == "end"
    attempts = victim.call("execution.steps.get", run=id, step="two")["attempts"]
    assert [(each["n"], each["idempotency_key"]) for each in attempts] == [(1, first), (2, first)]
    assert attempts[1]["state"] == "done"
    assert (len(victim.lines("one")), len(victim.lines("three"))) == (1, 1)
    assert victim.events("run.started", "run.resumed") == ["run.started", "run.resumed"]


def test_a_command_goes_on_and_its_end_is_found_whole(victim: Victim) -> None:
    shell = (
        "echo begun >> effects; for i in 1 2 3; do echo line $i; done; while [ ! -e go ]; do sleep 0.02; done;"
        " for i in 4 5 6; do echo line $i; done; echo on error >&2; exit 7"
    )
    id = victim.start(command("a", shell=shell, ok_codes=[7]), command("b", "touch", "after", needs="a"))
    victim.until_lines("effects", 1)
    victim.kill()
    (victim.folder / "go").touch()
    victim.restart()
    assert victim.until(id, *ENDS) == "succeeded"
    found = victim.call("execution.steps.get", run=id, step="a")
    lines = "".join(f"line {number}\n" for number in range(1, 7))
    assert found["step"]["output"] == {"exit_code": 7, "signal": None, "stdout": lines}
    assert [(each["n"], each["state"], each["exit_code"]) for each in found["attempts"]] == [(1, "done", 7)]
    assert victim.lines("effects") == ["begun"]
    pieces = victim.call("execution.logs", run=id, step="a")["items"]
    assert "".join(each["text"] for each in pieces if each["stream"] == "stdout") == lines
    assert [each["text"] for each in pieces if each["stream"] == "stderr"] == ["on error\n"]
    assert (victim.folder / "after").exists()


def test_a_command_that_still_runs_is_taken_up_and_can_be_stopped(victim: Victim) -> None:
    shell = "echo $$ >> pid; while true; do sleep 0.05; done"
    id = victim.start(command("a", shell=shell))
    victim.until_lines("pid", 1)
    pid = int(victim.lines("pid")[0])
    victim.kill()
    assert psutil.pid_exists(pid)
    victim.restart()
    victim.call("execution.runs.cancel", id=id, grace=1)
    assert victim.until(id, *ENDS) == "cancelled"
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert victim.lines("pid") == [str(pid)]


def test_a_check_tells_whether_it_was_done(victim: Victim) -> None:
    wait = "while true; do sleep 0.05; done"
    ids = [
        victim.start(command("a", shell=f"touch made; echo x >> ran; {wait}", on_daemon_death="kill",
                             check=["test", "-e", "made"])),
        victim.start(command("a", shell=f"echo x >> ran; [ -e again ] || {{ touch again; {wait}; }}",
                             on_daemon_death="kill", check=["test", "-e", "never"])),
    ]  # fmt: skip
    victim.until_lines("ran", 2)
    victim.kill()
    victim.restart()
    assert [victim.until(id, *ENDS) for id in ids] == ["succeeded", "succeeded"]
    found = [victim.call("execution.steps.get", run=id, step="a") for id in ids]
    assert found[0]["step"]["output"] == {"exit_code": None, "checked": True}
    assert [len(each["attempts"]) for each in found] == [1, 2]
    assert len(victim.lines("ran")) == 3


def test_a_kill_while_it_waits_loses_no_approval_timer_or_signal(victim: Victim) -> None:
    id = victim.start(
        {"key": "ok", "kind": "approval", "input": {"prompt": "?"}},
        {"key": "t", "kind": "timer", "input": {"duration": "PT0.2S"}},
        {"key": "s", "kind": "signal", "input": {"name": "go"}},
    )
    view = victim.call("execution.runs.get", id=id)
    victim.kill()
    victim.restart()
    again = victim.call("execution.runs.get", id=id)
    asked = [each for each in again["waits"] if each["kind"] == "approval"]
    assert asked == [each for each in view["waits"] if each["kind"] == "approval"]
    victim.call("execution.approvals.approve", id=asked[0]["id"], shown_hash=asked[0]["shown_hash"])
    victim.call("execution.runs.signal", id=id, name="go")
    assert victim.until(id, *ENDS) == "succeeded"
