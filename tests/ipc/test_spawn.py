import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coder_ipc import process, runtime, spawn
from coder_ipc.client import Client
from coder_ipc.errors import CallTimeout, NotRunning

COMMAND = [sys.executable, str(Path(__file__).with_name("wire_server.py"))]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the small server listens on a Unix socket")


@pytest.fixture
def env():
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "ipc"), str(root)])}


@pytest.fixture
def data_dir(tmp_path):
    """A data directory whose daemon, if any, is gone after the test."""
    folder = tmp_path / "data"
    yield folder
    if found := runtime.read(folder):
        os.kill(found.pid, signal.SIGKILL)
        assert process.wait_exit(found.pid, 10)


def stop(found) -> None:
    with Client.connect(found) as client:
        client.call("daemon.stop")


def test_a_daemon_is_started_once_and_attached_to_afterwards(data_dir, env):
    first = spawn.attach_or_spawn(data_dir, COMMAND, env=env)
    assert spawn.attach_or_spawn(data_dir, ["/does/not/exist"]) == first
    assert spawn.attach(data_dir) == first
    assert os.getsid(first.pid) == first.pid, "Ctrl-C at the terminal must not reach it"
    assert "starting" in (data_dir / "logs" / "daemon.stderr.log").read_text()
    assert data_dir.stat().st_mode & 0o777 == 0o700
    stop(first)
    assert spawn.wait_stopped(first, 10)
    with pytest.raises(NotRunning):
        spawn.attach(data_dir)


def test_a_stale_file_of_a_killed_daemon_leads_to_a_new_one(data_dir, env):
    first = spawn.attach_or_spawn(data_dir, COMMAND, env=env)
    os.kill(first.pid, signal.SIGKILL)
    assert spawn.wait_stopped(first, 10)
    assert runtime.read(data_dir) == first, "a crash leaves the file"
    assert spawn.attach_or_spawn(data_dir, COMMAND, env=env).pid != first.pid


def test_the_daemon_outlives_the_program_that_started_it(data_dir, env):
    code = f"from coder_ipc import spawn; print(spawn.attach_or_spawn({str(data_dir)!r}, {COMMAND!r}).pid)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert spawn.attach(data_dir).pid == int(done.stdout)


def test_a_daemon_that_exits_before_it_is_ready_is_reported_with_its_last_words(data_dir, env):
    data_dir.joinpath("logs").mkdir(parents=True)
    (data_dir / "logs" / "daemon.stderr.log").write_text("old news\n")
    with pytest.raises(spawn.SpawnError, match="exit code 8 before it was ready") as caught:
        spawn.attach_or_spawn(data_dir, COMMAND, env=env | {"WIRE_SERVER_FAULT": "exit"})
    assert (caught.value.returncode, caught.value.exit_code) == (8, 8)
    assert caught.value.stderr == "starting exit\nthe database is locked by a ghost"


def test_a_first_line_that_is_not_the_ready_line_is_shown(data_dir, env):
    with pytest.raises(spawn.SpawnError, match="Hello from a plugin that prints") as caught:
        spawn.attach_or_spawn(data_dir, COMMAND, env=env | {"WIRE_SERVER_FAULT": "garbage"})
    assert caught.value.exit_code == 70


def test_a_daemon_that_is_not_ready_in_time_is_named_and_left_alone(data_dir, env):
    with pytest.raises(spawn.SpawnError, match=r"not ready in 0.5 s") as caught:
        spawn.attach_or_spawn(data_dir, COMMAND, 0.5, env=env | {"WIRE_SERVER_FAULT": "silent"})
    pid = int(str(caught.value).partition("pid ")[2].partition(")")[0])
    assert process.started_at(pid) is not None
    assert (caught.value.returncode, caught.value.exit_code) == (None, 11)
    os.kill(pid, signal.SIGKILL)
    assert process.wait_exit(pid, 10)


def test_a_command_that_does_not_exist_is_reported(data_dir):
    with pytest.raises(spawn.SpawnError, match="/does/not/exist cannot be started") as caught:
        spawn.attach_or_spawn(data_dir, ["/does/not/exist"])
    assert (caught.value.returncode, caught.value.exit_code) == (None, 70)


def test_a_daemon_that_is_there_and_hangs_is_not_doubled(server):
    server.answers = False
    with pytest.raises(CallTimeout):
        spawn.attach(server.data_dir, 0.1)
    assert server.methods == []


def test_waiting_ends_at_its_limit_while_the_daemon_runs(server):
    found = runtime.read(server.data_dir)
    assert spawn.wait_stopped(found, 0.05) is False


def test_a_pid_that_another_process_took_over_counts_as_stopped(server):
    found = runtime.read(server.data_dir)
    other = found._replace(
        process_started_at=found.process_started_at - 1000, socket=str(server.data_dir / "gone.sock")
    )
    assert spawn.wait_stopped(other, 5) is True


def test_a_clock_that_was_set_does_not_make_a_running_daemon_look_stopped(server):
    found = runtime.read(server.data_dir)
    assert spawn.wait_stopped(found._replace(process_started_at=found.process_started_at - 1000), 0.05) is False


def test_a_log_that_grew_too_long_is_set_aside(data_dir, env, monkeypatch):
    monkeypatch.setattr(spawn, "_LOG_LIMIT", 10)
    data_dir.joinpath("logs").mkdir(parents=True)
    (data_dir / "logs" / "daemon.stderr.log").write_text("x" * 11)
    spawn.attach_or_spawn(data_dir, COMMAND, env=env)
    assert (data_dir / "logs" / "daemon.stderr.log.1").read_text() == "x" * 11
    assert "x" not in (data_dir / "logs" / "daemon.stderr.log").read_text()
