"""What a plugin does by itself, in a daemon that is killed and one that is stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .conftest import enable
from .process import Process

pytestmark = pytest.mark.alone

WORKER = '''
import asyncio
from coder_local.api import Context, Domain, Heard, Transaction

domain = Domain("worker")
tasks = []


@domain.listener("notes.note.pinned")
def answer(tx: Transaction, *, event: Heard) -> None:
    """Answer each pinned note with another."""
    tx.call("notes.create", workspace="heard", title=event.data["note"])


def _note(tx: Transaction, title: str) -> None:
    tx.call("notes.create", workspace="life", title=title)


@domain.on_start
async def start(ctx: Context) -> None:
    await ctx.transact(_note, "started")
    tasks.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))


@domain.on_stop
async def stop(ctx: Context) -> None:
    for task in tasks:
        task.cancel()
    await ctx.transact(_note, "stopped")
    await ctx.call("notes.create", workspace="life", title="all is written")
'''


def write(data_dir: Path, body: str) -> None:
    folder = data_dir / "plugins" / "worker"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body)


def titles(process: Process, workspace: str) -> list[str]:
    found = process.call("notes.list", workspace=workspace, limit=500)["items"]
    return [each["title"] for each in found]


def wait_for(process: Process, workspace: str, count: int) -> list[str]:
    """Wait until so many notes are there: what a plugin does by itself, nobody is answered for."""
    end = time.monotonic() + 30
    while len(found := titles(process, workspace)) < count:
        assert time.monotonic() < end, process.log.read_text()[-3000:]
        time.sleep(0.02)
    return found


def test_each_event_is_answered_once_although_the_daemon_is_killed(daemon: Process, data_dir: Path) -> None:
    write(data_dir, WORKER)
    enable(daemon, "worker")
    pinned: list[str] = []
    for _ in range(3):
        for number in range(30):
            note = daemon.call("notes.create", workspace="home", title=str(number))
            daemon.call("notes.pin", id=note["id"])
            pinned.append(note["id"])
        daemon.kill()  # some are answered, some are not
        daemon.start()
    assert wait_for(daemon, "heard", len(pinned)) == pinned


def test_a_stop_lets_plugins_write_what_they_leave_behind(daemon: Process, data_dir: Path) -> None:
    write(data_dir, WORKER)
    enable(daemon, "worker")
    daemon.call("daemon.stop")
    assert daemon.wait(20) == 0
    daemon.start()
    assert wait_for(daemon, "life", 4) == ["started", "stopped", "all is written", "started"]


def test_a_stop_that_fails_holds_up_nobody(daemon: Process, data_dir: Path) -> None:
    failing = WORKER.replace("    for task in tasks:\n        task.cancel()", "    raise RuntimeError('at stop')")
    write(data_dir, failing)
    enable(daemon, "worker")
    daemon.call("daemon.stop")
    assert daemon.wait(20) == 0
    assert "RuntimeError: at stop" in daemon.log.read_text()
