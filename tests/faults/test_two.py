"""Two daemons at one directory, and a clock that is set back."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coder_local._store.clock import IdMaker
from coder_local.testing.daemon import environment

from .process import Process

pytestmark = pytest.mark.alone


def test_a_second_serve_attaches_and_ends_with_0(daemon: Process) -> None:
    second = Process(daemon.data_dir)
    line = second.start()
    assert second.wait() == 0
    assert (line["event"], line["pid"]) == ("attached", daemon.pid)


def test_many_at_once_make_one_daemon(data_dir: Path) -> None:
    processes = [Process(data_dir) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        lines = list(pool.map(lambda process: process.start(), processes))
    try:
        assert len({line["pid"] for line in lines}) == 1
        assert sorted(line["event"] for line in lines) == ["attached"] * 4 + ["ready"]
    finally:
        for process in processes:
            process.kill()


def test_a_copied_runtime_file_of_a_dead_daemon_is_not_believed(daemon: Process, tmp_path: Path) -> None:
    stale = (daemon.data_dir / "runtime.json").read_text()
    daemon.kill()
    (daemon.data_dir / "runtime.json").write_text(stale)
    assert daemon.start()["event"] == "ready"


class SetBack:
    """A clock that is set back by an hour, again and again."""

    def __init__(self) -> None:
        self.times = iter([3_600_000, 3_600_001, 0, 1, 3_599_999, 5, 5, 5])

    def now_ms(self) -> int:
        return next(self.times)


def test_ids_still_sort_when_the_clock_is_set_back() -> None:
    maker = IdMaker(SetBack())
    made = [maker.new() for _ in range(8)]
    assert made == sorted(made)
    assert len(set(made)) == 8


@pytest.mark.skipif(not Path("/proc").exists(), reason="uses Linux's environment of a process")
def test_no_secret_stands_in_argv_or_environment(daemon: Process) -> None:
    token = daemon.data_dir.joinpath("runtime.json").read_text().split('"token": "')[1].split('"')[0]
    assert len(token) >= 32
    for file in ("cmdline", "environ"):
        assert token.encode() not in Path(f"/proc/{daemon.pid}/{file}").read_bytes()
    assert token not in daemon.log.read_text()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_everything_is_its_owner_s_alone(daemon: Process) -> None:
    assert daemon.data_dir.stat().st_mode & 0o777 == 0o700
    open_ones = [
        path.name for path in daemon.data_dir.iterdir() if path.name != "plugins" and path.stat().st_mode & 0o077
    ]
    assert open_ones == []


def test_a_closed_reader_of_the_ready_line_does_not_stop_it(data_dir: Path) -> None:
    process = Process(data_dir)
    reader, writer = os.pipe()
    os.close(reader)
    started = subprocess.Popen(
        [sys.executable, "-m", "coder_local", "serve", "--data-dir", str(data_dir)],
        stdout=writer, stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    os.close(writer)
    second = Process(data_dir)
    try:
        while not (data_dir / "runtime.json").exists():
            assert started.poll() is None
        assert second.start()["pid"] == started.pid
    finally:
        process.popen = started
        process.kill()
        second.kill()
