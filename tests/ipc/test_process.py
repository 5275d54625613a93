import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from coder_ipc import process


@pytest.fixture
def child():
    """A process that runs until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as started:
        yield started
        started.stdin.close()


def test_the_start_time_is_that_of_psutil():
    assert process.started_at(os.getpid()) == pytest.approx(psutil.Process().create_time(), abs=1.5)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ps")
@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="needs /bin/ps")
def test_ps_tells_the_same_start_time(child):
    assert process._started_at_ps(child.pid) == pytest.approx(process.started_at(child.pid), abs=2)
    child.kill()
    child.wait()
    assert process._started_at_ps(child.pid) is None


def test_a_running_process_is_waited_for_as_long_as_asked_and_no_longer(child):
    start = time.monotonic()
    assert process.wait_exit(child.pid, 0.05) is False
    assert 0.04 < time.monotonic() - start < 5


def test_the_end_is_noticed(child):
    child.kill()
    assert process.wait_exit(child.pid, 10) is True


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no zombies")
def test_a_zombie_has_ended(child):
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.started_at(child.pid) is None
    assert process.wait_exit(child.pid, 0) is True


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the system call's number")
def test_a_process_whose_first_thread_is_a_zombie_has_not_ended():
    code = (
        "import ctypes, threading; threading.Thread(target=input, daemon=False).start();"
        "ctypes.CDLL(None).syscall(60, 0)"  # ends this thread only; that of input() goes on, and holds all files
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        stat = Path(f"/proc/{started.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
        assert process.started_at(started.pid) is not None
        assert process.wait_exit(started.pid, 0.05) is False
        started.kill()
        assert process.wait_exit(started.pid, 10) is True


def test_a_process_that_is_gone_has_ended(child):
    child.kill()
    child.wait()
    assert process.started_at(child.pid) is None
    assert process.wait_exit(child.pid, 0) is True


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no pidfd to go without")
def test_without_a_pidfd_the_end_is_noticed_by_asking(child, monkeypatch):
    def refuse(pid):
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert process.wait_exit(child.pid, 0.05) is False
    child.kill()
    assert process.wait_exit(child.pid, 10) is True
