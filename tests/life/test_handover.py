"""Another version takes over: nobody loses anything, and if it cannot, the old one is there."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from coder_ipc import IpcError, runtime, spawn
from coder_local._daemon.lock import Lock, successor
from coder_local.testing.daemon import environment
from tests.doors.serve import Serve

from .world import ENDS, LIMIT, SOURCE, World, answer

pytestmark = pytest.mark.alone
LINES = "for n in $(seq 1 40); do echo $n >> lines; echo $n; sleep 0.05; done; while [ ! -e go ]; do sleep 0.02; done"
NEXT = """
import sys
import coder_local
coder_local.__version__ = "9.9.9"
from coder_local.cli import main
{more}
sys.exit(main())
"""


def next_version(folder: Path, more: str = "") -> list[str]:
    """Return the words that start this program as if it were version 9.9.9, meddled with."""
    path = folder / "next.py"
    path.write_text(NEXT.format(more=more))
    return [sys.executable, str(path)]


def test_an_update_while_a_job_runs_loses_no_line_and_no_event(world: World) -> None:
    old = world.serve("--linger", "30")
    heard = Heard(world)
    run = world.start(LINES)
    followed = Followed(world, run)
    followed.start()
    world.until_lines(5)
    ended = world.run("daemon", "handover", "--json", "--", *next_version(world.folder))
    assert ended.returncode == 0, ended.stderr
    told = answer(ended.stdout)
    assert old.end() == 0
    now = runtime.read(world.data)
    assert now is not None
    assert told["from"] == {name: world.line[name] for name in ("version", "pid", "incarnation")}
    assert told["to"] == {"version": "9.9.9", "pid": now.pid, "incarnation": now.incarnation}
    assert (now.http, now.socket) == (world.line["http"], world.line["socket"])  # where its clients look for it
    assert world.call("daemon.status")["options"] == ["--linger", "30"]
    world.until_lines(40)
    (world.work / "go").touch()
    assert world.until_ended(run) == "succeeded"
    assert world.lines() == [str(number) for number in range(1, 41)]
    (step,) = world.call("execution.runs.get", id=run)["steps"]
    assert (step["status"], step["attempts"]) == ("succeeded", 1)
    said = world.call("execution.steps.get", run=run, step="only")
    assert len(said["attempts"]) == 1
    followed.join(LIMIT)
    assert followed.status == "succeeded"
    assert "".join(followed.output) == "".join(f"{number}\n" for number in range(1, 41))
    assert followed.connections > 1
    heard.has_all(world, told="9.9.9")
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


class Followed(threading.Thread):
    """Follows a run, and comes back with the cursor whenever it is cut off."""

    def __init__(self, world: World, run: str) -> None:
        super().__init__(daemon=True)
        self.output: list[str] = []
        self.status = ""
        self.connections = 0
        self._world, self._id = world, run
        self._cursor: str | None = None

    def run(self) -> None:
        while self.status not in ENDS:
            try:
                with self._world.client() as client:
                    self.connections += 1
                    for said in client.items("execution.runs.follow", {"id": self._id, "cursor": self._cursor}):
                        self._take(said)
            except IpcError:
                time.sleep(0.02)  # nobody is there for a moment

    def _take(self, said: dict[str, Any]) -> None:
        self._cursor = said["cursor"]
        if said["type"] == "output":
            self.output.append(said["text"])
        elif said["type"] == "run":
            self.status = said["status"]


class Heard:
    """A client that comes back with its cursor, and what it heard."""

    def __init__(self, world: World) -> None:
        self.sequences: list[int] = []
        self.told: list[dict[str, Any]] = []
        self._client = world.client()
        self._data = world.data
        self._subscription = self._client.events()
        self._begin = int(self._subscription.cursor.rpartition(":")[2])

    def has_all(self, world: World, told: str) -> None:
        """Hear the rest on a new connection, and compare with the log; it was told who would follow."""
        head = int(world.call("daemon.status")["event_head"].rpartition(":")[2])
        dispatch = self._client._dispatch

        def look(message: dict[str, Any]) -> None:
            if message.get("method") == "daemon.handing_over":
                self.told.append(message["params"])
            dispatch(message)

        self._client._dispatch = look  # type: ignore[method-assign]
        try:
            while True:
                self._take(self._subscription.wait(LIMIT))
        except spawn.ConnectionLost:
            pass
        assert [each["version"] for each in self.told] == [told]
        with world.client() as client:
            subscription = client.events(cursor=self._subscription.cursor)
            while self._begin + len(self.sequences) < head:
                self._take(subscription.wait(LIMIT))
        assert self.sequences == list(range(self._begin + 1, head + 1))

    def _take(self, params: dict[str, Any] | None) -> None:
        assert params is not None
        assert "reason" not in params, params
        self.sequences.append(params["event"]["sequence"])


# -- when it cannot ---------------------------------------------------------------------------------------------------

NEWER = """
from coder_local._store import migrations
def newer(*_): raise migrations.NewerData('of a newer version', hint='install that one')
migrations.refuse_newer = newer
"""
BREAKS = """
from coder_local._daemon import runtimefile
if "--take-over" in sys.argv:
    del runtimefile.write
"""


@SOURCE
def test_without_a_daemon_there_is_nobody_to_follow_and_what_does_not_come_to_ask_changes_nothing(world: World) -> None:
    ended = world.run("daemon", "handover")
    assert ended.returncode == 3
    assert "coder-local serve" in ended.stderr
    old = world.serve("--take-over")  # which is an ordinary start then
    assert (world.line["event"], world.line["pid"]) == ("ready", old.popen.pid)
    for wrong, told in (("/nowhere/coder-local", "cannot be run"), ("false", "is no coder-local that works")):
        ended = world.run("daemon", "handover", wrong)
        assert (ended.returncode, told in ended.stderr) == (2, True)
    for more, told in ((NEWER, "of a newer version"), ("if '--take-over' in sys.argv: sys.exit(5)", "exit code 5")):
        error = refused(world, more)
        assert told in error["message"]
        assert error["hint"].startswith("the old one goes on")
    assert world.call("daemon.status")["pid"] == old.popen.pid


CANNOT_MIGRATE = """
import pathlib
from coder_local._store import airlock
bad = pathlib.Path(__file__).with_name("0999_bad.sql")
bad.write_text("-- It cannot be done.\\nINSERT INTO nowhere VALUES (1);\\n")
airlock.CORE = airlock.CORE._replace(files=(*airlock.CORE.files, bad))
"""


@SOURCE
def test_the_old_version_is_started_again_when_the_new_one_breaks_after_it_has_gone(world: World) -> None:
    old = world.serve("--linger", "30")
    created = world.call("planning.tasks.create", title="kept")
    incarnations = {world.line["incarnation"]}
    for more in (BREAKS, CANNOT_MIGRATE):  # before its line, and after it
        error = refused(world, more)
        assert "did not take over" in error["message"]
        assert error["hint"].startswith("the old one was started again")
        status = world.call("daemon.status")
        assert (status["version"], status["options"]) == (world.line["version"], ["--linger", "30"])
        assert status["incarnation"] not in incarnations
        incarnations.add(status["incarnation"])
        assert world.call("planning.tasks.get", id=created["id"]) == created
    assert old.end() == 0
    world.stop()
    world.kin.is_gone()


def refused(world: World, more: str) -> dict[str, Any]:
    """Hand over to a version that was meddled with; return the error."""
    ended = world.run("daemon", "handover", "--json", "--", *next_version(world.folder, more))
    assert ended.returncode == 70, ended.stderr
    return answer(ended.stderr.splitlines()[-1])


HANGS = """
import asyncio
from coder_local._daemon import daemon
async def hangs(*_): await asyncio.Event().wait()
daemon.load = hangs
"""
COMPUTES = """
import pathlib
from coder_local._store import airlock, store
go = pathlib.Path(__file__).with_name("go")
computes = pathlib.Path(__file__).with_name("0999_computes.sql")
computes.write_text("-- It computes until it may go.\\nCREATE TABLE counted AS WITH RECURSIVE counting(x) AS "
                    "(SELECT 1 UNION ALL SELECT x + 1 FROM counting WHERE NOT may_go()) SELECT count(*) FROM counting;")
airlock.CORE = airlock.CORE._replace(files=(*airlock.CORE.files, computes))
before = store.open_writer
def open_writer(path):
    connection = before(path)
    connection.create_function("may_go", 0, go.exists)
    return connection
store.open_writer = open_writer
"""
PATIENCE = 2.0


def impatient(world: World, more: str, state: str) -> subprocess.Popen[str]:
    """Begin to hand over to a version that was meddled with, and wait `PATIENCE` seconds for its progress."""
    command = f"import sys; from coder_local.cli import main, waiting; waiting.STILL[{state!r}] = {PATIENCE};"
    command += "sys.exit(main())"
    words = ["--data-dir", str(world.data), "daemon", "handover", "--json", "--", *next_version(world.folder, more)]
    return subprocess.Popen(
        [sys.executable, "-c", command, *words], env=environment(world.env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@SOURCE
def test_a_new_one_that_never_gets_ready_is_told_of_with_the_way_to_find_out_why_and_to_go_back(world: World) -> None:
    old = world.serve()
    with impatient(world, HANGS, "starting") as command:
        _, said = command.communicate(timeout=LIMIT)
    assert command.returncode == 11, said
    assert old.end() == 0
    error = answer(said.splitlines()[-1])
    now = runtime.read(world.data)
    assert now is not None
    assert error["message"].startswith(f"the new daemon (version 9.9.9, pid {now.pid}) is not ready: starting; ")
    assert f"nothing has moved for {PATIENCE:g} s" in error["message"]
    assert "coder-local doctor --boot" in error["hint"]
    assert str(world.data / "logs" / "boot.jsonl") in error["hint"]
    assert (world.data / "logs" / "boot.jsonl").exists()
    world.stop()
    world.serve()
    assert world.line["event"] == "ready"


@SOURCE
def test_a_migration_that_gets_on_is_waited_for_however_long_it_takes(world: World) -> None:
    world.serve()
    created = world.call("planning.tasks.create", title="kept")
    with impatient(world, COMPUTES, "migrating") as command:
        end = time.monotonic() + LIMIT
        while not _has_computed(world, 2 * PATIENCE):
            assert command.poll() is None, command.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)
        there = spawn.attach_or_spawn(world.data, ["/does/not/exist"])
        assert (there.version, world.call("daemon.status")["state"]) == ("9.9.9", "migrating"), "it is there meanwhile"
        (world.folder / "go").touch()
        told, said = command.communicate(timeout=LIMIT)
    assert command.returncode == 0, said
    assert answer(told)["to"]["version"] == "9.9.9"
    assert world.call("planning.tasks.get", id=created["id"]) == created
    world.stop()


def _has_computed(world: World, seconds: float) -> bool:
    try:
        step = world.call("daemon.status")["migrating"]
    except IpcError:
        return False  # between the two
    return step is not None and step["step"] == "0999_computes" and step["elapsed_seconds"] > seconds


# -- who else comes ---------------------------------------------------------------------------------------------------


@SOURCE
def test_nobody_gets_between_the_two(world: World) -> None:
    """Whoever starts a daemon meanwhile attaches to the successor; of two successors one gives way."""
    world.serve()
    options = [["--take-over"], [], [], ["--take-over"]]
    with ThreadPoolExecutor(len(options)) as pool:
        begun = [Serve(world.folder, *each, command=world.program) for each in options]
        lines = list(pool.map(_line, begun))
        first = next(line for line in lines if line and line["event"] == "ready")
        now = world.call("daemon.status")
        assert now["pid"] in {line["pid"] for line in lines if line}
        assert now["pid"] != world.line["pid"]
        assert first["incarnation"] != world.line["incarnation"]
        for each in begun:
            each.__exit__()


def _line(serve: Serve) -> dict[str, Any] | None:
    assert serve.popen.stdout is not None
    text = serve.popen.stdout.readline()
    return json.loads(text) if text else None


@SOURCE
def test_a_serve_does_not_take_the_lock_from_a_successor_that_waits_for_it(tmp_path: Path, program: list[str]) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    turn = successor(tmp_path / "data")
    assert turn.take()
    with Serve(tmp_path, command=program) as serve:
        assert select.select([serve.popen.stdout], [], [], 1.0)[0] == []  # an ordinary start takes a third of it
        lock = Lock(tmp_path / "data")
        while not lock.take():  # it looks, and lets go of it again
            assert serve.popen.poll() is None
        lock.release()
        turn.release()
        assert serve.ready()["event"] == "ready"


@SOURCE
def test_one_that_does_not_answer_is_left_alone_unless_it_is_forced_and_is_the_one(world: World) -> None:
    old = world.serve()
    created = world.call("planning.tasks.create", title="kept")
    old.popen.send_signal(signal.SIGSTOP)
    ended = world.run("daemon", "handover", "--timeout", "0.3")
    assert ended.returncode == 11
    assert f"pid {old.popen.pid}" in ended.stderr
    assert "--force" in ended.stderr
    path = world.data / "runtime.json"
    said = path.read_text()
    path.write_text(json.dumps({**json.loads(said), "process_started_at": 1.0}))  # another process, by its start
    assert world.run("daemon", "handover", "--timeout", "0.3", "--force").returncode == 4
    assert psutil.Process(old.popen.pid).status() == psutil.STATUS_STOPPED
    path.write_text(said)
    ended = world.run("daemon", "handover", "--timeout", "0.3", "--force")
    assert ended.returncode == 0, ended.stderr
    assert old.end() == -signal.SIGKILL
    assert world.call("planning.tasks.get", id=created["id"]) == created
    world.stop()
    world.kin.is_gone()


# -- what it is started with again ------------------------------------------------------------------------------------


@SOURCE
def test_a_parent_that_was_watched_is_watched_by_the_successor(world: World) -> None:
    """Standard input cannot be handed on; the process at its other end is watched by its pid."""
    shell = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "child.wait()\n"
        "sys.stdin.read()\n"
    )
    argv = [*world.program, "serve", "--data-dir", str(world.data), "--watch-stdin"]
    with subprocess.Popen(
        [sys.executable, "-c", shell, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert world.run("daemon", "handover").returncode == 0
        assert world.call("daemon.status")["options"] == ["--parent-pid", str(parent.pid)]
        parent.kill()
        parent.wait(30)
    world.kin.is_gone()
    assert world.traces() == []
