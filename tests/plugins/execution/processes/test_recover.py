"""The daemon is killed: what the folder of an attempt tells to the next one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coder_local.testing.daemon import environment
from coder_plugins.execution.processes import (
    STDERR,
    STDOUT,
    Alive,
    Child,
    Command,
    Ended,
    LaunchError,
    NotBegun,
    Vanished,
    boot_id,
    find,
    read_frames,
    start,
)
from coder_plugins.execution.processes.shim import frames, identity, records

from .conftest import output, said

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")]

DAEMON = """
import asyncio, sys
from pathlib import Path
from coder_plugins.execution.processes import Command, start

async def main():
    folder, policy, code = Path(sys.argv[1]), *sys.argv[2:4]
    command = Command(argv=("/bin/sh", "-c", code), cwd=folder, env={"PATH": "/usr/bin:/bin"}, on_daemon_death=policy)
    child = await start(folder, command)
    print(child.pid, flush=True)
    await child.wait()
    print("ended", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


class Daemon:
    """A process of its own that starts one command, and is killed."""

    def __init__(self, folder: Path, code: str, policy: str = "adopt") -> None:
        arguments = [sys.executable, "-c", DAEMON, str(folder), policy, code]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        self.pid = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
async def daemon(tmp_path):
    started: list[Daemon] = []

    def start(code: str, policy: str = "adopt") -> Daemon:
        started.append(Daemon(tmp_path, code, policy))
        return started[-1]

    yield start
    for each in started:
        each.kill()
    match find(tmp_path):
        case Alive(child):
            await child.stop(0)


def adopt(folder: Path) -> Child:
    match find(folder):
        case Alive(child):
            return child
        case other:
            raise AssertionError(other)


async def test_a_command_outlives_the_daemon_with_its_output_and_its_code(daemon, tmp_path):
    code = (
        "for n in 1 2 3; do echo $n; done; while ! test -e go; do sleep 0.01; done; echo 4; echo 5 >&2; echo 6; exit 7"
    )
    killed = daemon(code)
    first = adopt(tmp_path)
    killed.kill()
    child = adopt(tmp_path)
    assert (child.pid, child.identity) == (killed.pid, first.identity)
    (tmp_path / "go").touch()
    ended = await child.wait()
    assert (ended.code, ended.lost) == (7, False)
    assert output(child, STDOUT) == b"1\n2\n3\n4\n6\n"
    assert output(child, STDERR) == b"5\n"
    assert find(tmp_path) == Ended(ended)


async def test_a_command_that_ended_without_a_daemon_has_ended(daemon, tmp_path):
    killed = daemon("while ! test -e go; do sleep 0.01; done; kill -9 $$")
    killed.kill()
    (tmp_path / "go").touch()
    while isinstance(find(tmp_path), Alive):
        await asyncio.sleep(0.01)
    match find(tmp_path):
        case Ended(ended):
            assert ended.signal == signal.SIGKILL
        case other:
            pytest.fail(str(other))


async def test_an_adopted_command_is_stopped_with_all_its_processes(daemon, tmp_path):
    code = "trap '' INT TERM; sleep 600 & echo $!; echo ready; while :; do sleep 0.01; done"
    killed = daemon(code)
    killed.kill()
    child = adopt(tmp_path)
    await said(child, b"ready")
    grandchild = int(output(child).split()[0])
    assert (await child.stop(0.2)).signal == signal.SIGKILL
    assert identity.of(child.pid) is identity.of(grandchild) is None


async def test_a_command_is_killed_with_the_daemon_where_that_is_asked(daemon, tmp_path):
    killed = daemon("sh -c 'echo $$; exec sleep 600' & echo ready; exec sleep 600", "kill")
    child = adopt(tmp_path)
    await said(child, b"ready")
    while len(output(child).split()) < 2:
        await asyncio.sleep(0.01)
    killed.kill()
    assert (await child.wait()).lost
    while find(tmp_path) != Vanished():
        await asyncio.sleep(0.01)
    for word in output(child).split():
        while word.isdigit() and identity.of(int(word)) is not None:
            await asyncio.sleep(0.01)
    assert not (tmp_path / "exit.json").exists()


async def test_a_result_that_was_there_before_the_daemon_died_is_kept_in_both_cases(daemon, tmp_path):
    killed = daemon("exit 3", "kill")
    assert killed.process.stdout.readline() == "ended\n"
    killed.kill()
    match find(tmp_path):
        case Ended(ended):
            assert ended.code == 3
        case other:
            pytest.fail(str(other))


async def test_letting_go_of_a_command_is_as_the_daemon_s_death(commands):
    kept = await commands.start("sleep", "60")
    killed = await commands.start("sleep", "60", on_daemon_death="kill")
    await kept.detach()
    await killed.detach()
    assert (await adopt(killed.folder).wait()).lost
    assert (await adopt(kept.folder).stop()).signal == signal.SIGINT


async def test_the_shim_is_killed_and_the_command_is_still_known(commands):
    child = await commands.start("sh", "-c", "trap '' PIPE; while ! test -e go; do sleep 0.01; done")
    waiting = asyncio.create_task(child.wait())
    await asyncio.sleep(0)
    os.kill(child.shim.pid, signal.SIGKILL)
    assert adopt(child.folder).identity == child.identity
    (commands.folder / "go").touch()
    assert (await waiting).lost
    assert find(child.folder) == Vanished()


async def test_stopping_a_command_without_its_shim(commands):
    child = await commands.start("sleep", "60")
    os.kill(child.shim.pid, signal.SIGKILL)
    assert (await adopt(child.folder).stop(1)).lost
    assert identity.of(child.pid) is None


async def test_an_empty_folder_was_never_begun_unless_the_machine_has_started_since(tmp_path):
    assert find(tmp_path, "an earlier boot") == Vanished()
    assert find(tmp_path) == NotBegun()
    assert find(tmp_path, boot_id()) == NotBegun()


async def test_a_command_that_was_found_not_to_have_begun_cannot_begin_late(commands):
    """The daemon may have been killed when it had just handed it over; the next attempt is another command."""
    folder, traces = commands.new_attempt(), commands.folder / "traces"
    assert find(folder) == NotBegun()
    command = Command(argv=("touch", str(traces)), cwd=commands.folder, env={"PATH": os.environ["PATH"]})
    with pytest.raises(LaunchError):
        await start(folder, command)
    assert not traces.exists()
    assert find(folder) == NotBegun()
    await (await commands.start("touch", str(traces))).wait()
    assert traces.exists()


@pytest.mark.parametrize("change", ["started", "boot"])
async def test_a_later_process_with_the_same_id_is_not_the_command(tmp_path, change):
    stranger = identity.own()
    forged = {"started": stranger.started, "boot": stranger.boot}
    forged[change] = stranger.started - 1 if change == "started" else "an earlier boot"
    record = {"pid": stranger.pid, "shim_pid": stranger.pid, "shim_started": forged["started"], "started_at_ms": 0}
    record |= forged | {"on_daemon_death": "adopt", "mark": "none"}
    (tmp_path / "start.json").write_text(json.dumps(record))
    assert find(tmp_path) == Vanished()
    child = Child(tmp_path, record)
    assert (await child.stop(0)).lost, "and this process, which is the stranger, is still here"


async def whole_record(child: Child) -> dict[str, Any]:
    """Return the start record when it is complete: the daemon is told of a start before that."""
    async with asyncio.timeout(10):
        while "pid" not in (record := records.read(str(child.folder), records.START) or {}):
            await asyncio.sleep(0.001)
    return record


async def test_a_group_of_another_with_the_same_id_is_not_signalled(commands):
    stranger = await commands.start("sleep", "60")
    record = await whole_record(stranger)
    record |= {"started": record["started"] - 1, "shim_pid": 1, "shim_started": 0, "mark": "none"}
    assert (await Child(commands.new_attempt(), record).stop(0)).lost
    assert identity.is_alive(stranger.identity)


async def test_half_a_record_is_no_record(tmp_path):
    (tmp_path / "start.json").write_text('{"pid": 1')
    assert find(tmp_path) == Vanished()


async def forget_process(child: Child, torn: bytes = b"") -> None:
    """Leave of the start record what a shim leaves that is killed when it has just begun the command."""
    await whole_record(child)
    path = child.folder / "start.json"
    first, _, second = path.read_bytes().partition(b"\n")
    assert b'"pid"' not in first
    assert json.loads(second)["pid"] == child.pid
    path.write_bytes(first + b"\n" + torn)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("torn", [b"", b'{"pid": 1'])
async def test_a_command_is_found_whose_shim_could_not_say_which_process_it_is(commands, number, torn):
    child = await commands.start("sleep", "60")
    await forget_process(child, torn)
    os.kill(child.shim.pid, number)
    found = find(child.folder)
    assert isinstance(found, Alive)
    assert found.child.identity == child.identity
    assert not identity.is_alive(child.shim)
    assert (await found.child.stop(0)).lost
    assert not identity.is_alive(child.identity)


async def test_a_command_that_is_gone_and_was_never_told_of_has_vanished(commands):
    child = await commands.start("sleep", "60")
    await forget_process(child)
    os.kill(child.shim.pid, signal.SIGKILL)
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert find(child.folder) == Vanished()


def test_a_shim_that_stands_still_before_it_begins_does_not_begin_later(tmp_path):
    still = subprocess.Popen(["sleep", "60"])
    shim = identity.of(still.pid)
    still.send_signal(signal.SIGSTOP)
    os.close(records.create(str(tmp_path), records.START, records.describe_start(shim, "adopt", "no such mark")))
    assert find(tmp_path) == Vanished()
    assert still.wait(10) == -signal.SIGKILL


async def test_half_a_frame_after_a_kill_hides_nothing(commands):
    child = await commands.start("sh", "-c", "echo whole; sleep 60")
    await said(child, b"whole")
    os.kill(child.shim.pid, signal.SIGKILL)
    with (child.folder / "log").open("ab") as log:
        log.write(frames.head(0, frames.STDOUT, 100) + b"half")
    found, offset = read_frames(child.folder / "log")
    assert [frame.data for frame in found] == [b"whole\n"]
    assert read_frames(child.folder / "log", offset) == ([], offset)


async def test_it_waits_for_the_end_of_what_it_adopted_without_pidfds_too(commands, monkeypatch):
    def missing(pid: int) -> int:
        raise OSError("the kernel has none")

    monkeypatch.setattr(os, "pidfd_open", missing, raising=False)
    child = await commands.start("sh", "-c", "sleep 0.2; exit 6")
    await child.detach()
    assert (await adopt(child.folder).wait()).code == 6
