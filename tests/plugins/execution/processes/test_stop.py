"""Stopping: the ladder reaches every process of a command, wherever it has moved itself to, and nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from coder_plugins.execution.processes import Child
from coder_plugins.execution.processes.shim import identity

from .conftest import output, said

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")]

STUBBORN = "import os, signal, subprocess, sys, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
FOREVER = "print('ready', flush=True)\ntime.sleep(600)"


def pids(child: Child) -> list[int]:
    """Return the process ids that a command has printed."""
    return [int(word) for word in output(child).split() if word.isdigit()]


async def gone(*found: int) -> bool:
    return all(identity.of(pid) is None for pid in found)


async def test_one_that_minds_the_first_signal_is_not_kept_waiting(commands):
    child = await commands.start("sleep", "60")
    start = time.monotonic()
    assert (await child.stop()).signal == signal.SIGINT
    assert time.monotonic() - start < 5


async def test_one_that_minds_the_second_signal_ends_by_it(commands):
    child = await commands.start(
        "sh", "-c", "trap '' INT; trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"
    )
    await said(child, b"ready")
    assert (await child.stop(2)).code == 9


async def test_one_that_ignores_both_is_killed_in_time_and_its_child_too(commands):
    spawn = "p = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'])\nprint(p.pid)\n"
    child = await commands.python(STUBBORN + spawn + FOREVER)
    await said(child, b"ready")
    start = time.monotonic()
    ended = await child.stop(1)
    assert (ended.signal, ended.survivors) == (signal.SIGKILL, ())
    assert 0.9 < time.monotonic() - start < 3
    assert await gone(child.pid, *pids(child))


async def test_no_grace_kills_at_once(commands):
    child = await commands.python(STUBBORN + FOREVER)
    await said(child, b"ready")
    assert (await child.stop(0)).signal == signal.SIGKILL


async def test_a_stopped_command_is_ended(commands):
    child = await commands.start("sleep", "60")
    os.kill(child.pid, signal.SIGSTOP)
    assert (await child.stop(1)).signal in (signal.SIGINT, signal.SIGTERM)


async def test_a_grandchild_whose_parent_has_ended_is_ended(commands):
    child = await commands.start("sh", "-c", "sh -c 'sleep 600 & echo $!'; echo ready; sleep 600")
    await said(child, b"ready")
    await child.stop(1)
    assert await gone(*pids(child))


async def test_what_a_command_left_behind_is_ended_after_its_end(commands):
    child = await commands.start("sh", "-c", "sleep 600 & echo $!; exit 4")
    ended = await child.wait()
    assert (ended.code, ended.left) == (4, True)
    assert not await gone(*pids(child))
    assert (await child.stop(1)).code == 4
    assert await gone(*pids(child))


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
@pytest.mark.parametrize("clean", [False, True], ids=["marked", "unmarked"])
async def test_a_grandchild_in_a_session_of_its_own_is_ended(commands, clean):
    # without its environment only its parent tells whose it is: the shim, to which it fell
    environment = "{}" if clean else "os.environ"
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.close(1); os.close(2)
        os.execve('/bin/sleep', ['sleep', '600'], {environment})
    os._exit(0)
os.wait()
print('ready', flush=True)
time.sleep(600)
"""
    child = await commands.python(code)
    await said(child, b"ready")
    await said(child, b"\n")
    while not pids(child):
        await asyncio.sleep(0.01)
    assert not await gone(*pids(child))
    assert (await child.stop(0)).signal == signal.SIGKILL
    assert await gone(*pids(child))


async def test_a_command_that_forks_without_end_is_ended(commands):
    code = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print('ready', flush=True)
while True:
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.05)
    else:
        time.sleep(0.01)
"""
    child = await commands.python(code)
    await said(child, b"ready")
    ended = await child.stop(0)
    assert ended.survivors == ()


async def test_cancelling_the_stop_does_not_cut_it_short(commands):
    child = await commands.python(STUBBORN + FOREVER)
    await said(child, b"ready")
    stopping = asyncio.create_task(child.stop(0.5))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert await gone(child.pid)


async def test_a_second_stop_with_less_grace_overtakes_the_first(commands):
    child = await commands.python(STUBBORN + FOREVER)
    await said(child, b"ready")
    slow = asyncio.create_task(child.stop(60))
    await asyncio.sleep(0.05)
    assert (await child.stop(0)).signal == signal.SIGKILL
    assert (await slow).signal == signal.SIGKILL


async def test_stopping_one_leaves_the_others(commands):
    one = await commands.start("sleep", "60")
    other = await commands.start("sleep", "60")
    await one.stop(0)
    assert identity.is_alive(other.identity)


async def test_stopping_one_that_has_ended_tells_its_end(commands):
    child = await commands.start("sh", "-c", "exit 3")
    await child.wait()
    assert (await child.stop()).code == 3


async def test_stopping_one_that_has_ended_leaves_the_next_one_of_its_shim(commands):
    first = await commands.start("true")
    assert not (await first.wait()).left
    others = [await commands.start("sleep", "60") for _ in range(12)]
    assert first.shim in [other.shim for other in others], "each shim that waits has got one"
    assert (await first.stop(0)).code == 0
    assert all(identity.is_alive(other.identity) for other in others)
