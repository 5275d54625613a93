"""Attach or spawn: whoever comes at the same moment, there is one daemon, and no file is taken for one."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from coder_ipc import IpcError, NotRunning, runtime, spawn
from coder_ipc.client import Client
from coder_local.testing.daemon import environment, running
from tests.doors.serve import Serve

from .world import SOURCE, World

pytestmark = pytest.mark.alone
posix = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links and Unix sockets")
NODE = shutil.which("node")
SHELL = """
const { spawn } = require("node:child_process");
const [program, ...rest] = process.argv.slice(1);
const child = spawn(program, [...rest, "--parent-pid", String(process.pid), "--watch-stdin"], {
  stdio: ["pipe", "pipe", "ignore"],
});
let said = "";
child.stdout.on("data", (part) => { said += part; if (said.includes("\\n")) console.log(said.trim()); });
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
"""
"""A shell in another language, by the page alone: it says the line, and stays until its standard input ends."""


class Shell:
    """A program that starts the daemon and ends when it is told; in Node where that is here."""

    def __init__(self, world: World) -> None:
        serve = [*world.program, "serve", "--data-dir", str(world.data)]
        argv = [NODE, "-e", SHELL, *serve] if NODE else [sys.executable, "-c", _SAME, *serve]
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(world.env))
        assert self.popen.stdout is not None
        self.line: dict[str, Any] = json.loads(self.popen.stdout.readline())

    def close(self) -> None:
        self.popen.communicate(timeout=30)


_SAME = """
import os, subprocess, sys
child = subprocess.Popen([*sys.argv[1:], "--parent-pid", str(os.getpid()), "--watch-stdin"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="", flush=True)
sys.stdin.read()
"""


def _by_command(world: World) -> int:
    ended = world.run("daemon", "status", "--json")
    assert ended.returncode == 0, ended.stderr
    return int(json.loads(ended.stdout)["pid"])


def _by_plugin_test(world: World, ended: Callable[[], None]) -> int:
    """Do what the tests of a plugin do; they end their daemon, so everybody else must be done by then."""
    with running(world.data) as daemon:
        pid = daemon.runtime.pid
        ended()
        return pid


def test_two_shells_a_command_and_a_plugin_s_test_at_once_make_one_daemon(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        shells = [pool.submit(Shell, world) for _ in range(2)]
        command = pool.submit(_by_command, world)

        def others() -> None:
            for each in (command, *shells):
                each.result()

        plugin = pool.submit(_by_plugin_test, world, others)
        pids = {plugin.result(), command.result(), *(shell.result().line["pid"] for shell in shells)}
        assert len(pids) == 1
        for shell in shells:
            shell.result().close()
    world.kin.is_gone()
    assert world.traces() == []


SLOW = """
import asyncio, pathlib, sys
from coder_local._registry.kernel import Kernel
go = pathlib.Path(sys.argv.pop(1))
async def end_all(self):
    while not go.exists():
        await asyncio.sleep(0.01)
Kernel.end_all = end_all
from coder_local.cli import main
sys.exit(main())
"""
"""The program with plugins that take their time to end."""


@posix
@SOURCE
def test_one_that_is_stopping_is_followed_and_not_attached_to(world: World) -> None:
    """As when an application is closed and opened again: the daemon of before still ends what runs."""
    go = world.folder / "go"
    old = world.serve(program=[sys.executable, "-c", SLOW, str(go)])
    world.call("daemon.stop")
    with Serve(world.folder, command=world.program) as serve, ThreadPoolExecutor(1) as pool:
        waits = pool.submit(spawn.attach_or_spawn, world.data, world.program, env=environment(world.env))
        assert select.select([serve.popen.stdout], [], [], 1.0)[0] == []  # an ordinary start takes a third of it
        assert not waits.done()
        go.touch()
        pids = {serve.ready()["pid"], waits.result().pid}
    assert old.end() == 0
    assert len(pids) == 1
    assert old.popen.pid not in pids
    world.stop()


# -- files that are no daemon -----------------------------------------------------------------------------------------


def _dead(found: dict[str, Any], _: Path) -> str:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return json.dumps({**found, "pid": ended.pid})


def _reused(found: dict[str, Any], _: Path) -> str:
    """Name a process that is there and is something else: this one."""
    return json.dumps({**found, "pid": os.getpid(), "process_started_at": psutil.Process().create_time()})


def _cut_off(found: dict[str, Any], _: Path) -> str:
    return json.dumps(found)[:60]


def _foreign(found: dict[str, Any], _: Path) -> str:
    return json.dumps({"name": "another program", "pid": found["pid"]})


def _of_another_directory(found: dict[str, Any], folder: Path) -> str:
    return (folder / "other" / "data" / "runtime.json").read_text()


def _link(_: dict[str, Any], folder: Path) -> Path:
    return folder / "other" / "data" / "runtime.json"


MADE: list[Callable[[dict[str, Any], Path], str | Path]] = [
    _dead, _reused, _cut_off, _foreign, _of_another_directory, _link,
]  # fmt: skip


@posix
@SOURCE
def test_a_file_is_no_daemon(world: World) -> None:
    path = world.data / "runtime.json"
    daemon = world.serve()
    (world.folder / "other").mkdir()
    with Serve(world.folder / "other", command=world.program) as other:
        other.ready()
        for make in MADE:
            left = json.loads(path.read_text())
            daemon.popen.kill()
            daemon.end()
            path.unlink()
            made = make(left, world.folder)
            path.write_text(made) if isinstance(made, str) else path.symlink_to(made)
            with pytest.raises(NotRunning):
                spawn.attach(world.data)
            daemon = world.serve()
            assert (world.line["event"], world.line["pid"]) == ("ready", daemon.popen.pid), make
            assert not path.is_symlink()
            with other.client() as client:  # whose file it was, or whose pid it named, was left alone
                assert client.hello["pid"] == other.popen.pid
        assert world.call("daemon.status")["pid"] == daemon.popen.pid
        daemon.popen.terminate()
        assert daemon.end() == 0
        assert world.traces() == []


@posix
@SOURCE
def test_the_file_of_a_daemon_that_runs_is_put_back(world: World) -> None:
    path = world.data / "runtime.json"
    daemon = world.serve()
    there = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_text("{}"), lambda: os.truncate(path, 40)):
        spoil()
        second = world.serve()
        assert (world.line["event"], world.line["pid"]) == ("attached", daemon.popen.pid)
        assert second.end() == 0
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (there, 0o600)
    daemon.popen.terminate()
    assert daemon.end() == 0
    assert world.traces() == []


@posix
@SOURCE
def test_a_folder_in_the_file_s_place_is_named_with_its_cure(world: World) -> None:
    (world.data / "runtime.json").mkdir(parents=True)
    with Serve(world.folder, command=world.program) as refused:
        assert refused.end() == 73
        assert "runtime.json in it is a folder" in refused.log()
        assert "hint: move that folder away" in refused.log()
    assert world.run("status").returncode == 3
    (world.data / "runtime.json").rmdir()
    world.serve()


@posix
@SOURCE
def test_a_socket_that_somebody_else_listens_at_is_not_believed(world: World, tmp_path: Path) -> None:
    """Another program took the address over: what it answers is no answer."""
    first = world.serve("--no-http")
    found = runtime.read(world.data)
    assert found is not None
    first.popen.kill()
    first.end()
    Path(found.socket).unlink()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(found.socket)
        stranger.listen()

        def answer() -> None:
            taken, _ = stranger.accept()
            with taken:
                taken.recv(4096)
                taken.sendall(b"220 mail ready\r\n\r\n")

        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(answer)
            with pytest.raises(IpcError):
                Client.connect(world.data, timeout=5)
            answering.result()
        second = world.serve("--no-http")  # the lock is free, so nobody of ours listens there
        assert (world.line["event"], world.line["pid"]) == ("ready", second.popen.pid)
