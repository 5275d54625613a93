"""A hundred reconnects while others write and the daemon is killed, stopped, handed over: no event lost or doubled."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from coder_ipc import IpcError
from coder_ipc.client import Client

from .world import LIMIT, World

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]
RECONNECTS = 100
TROUBLES = ("kill", "handover", "stop", "kill")
"""What befalls the daemon, spread evenly over the reconnects."""
EACH = RECONNECTS // (len(TROUBLES) + 1)


class Follower(threading.Thread):
    """Hears the events of tasks, comes back with its cursor, and hangs up by itself again and again."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.heard: list[int] = []
        self.connections = 0
        self.faults: list[str] = []
        self.done = threading.Event()
        self._chance = random.Random(5)
        with world.client() as client:
            self.cursor: str = client.events().cursor

    def run(self) -> None:
        while not self.done.is_set():
            try:
                with self.world.client() as client:
                    self.connections += 1
                    self._hear(client, self._chance.randrange(1, 4))
            except (IpcError, OSError):
                time.sleep(0.01)  # the daemon is just away

    def _hear(self, client: Client, count: int) -> None:
        with client.events(cursor=self.cursor, types=["planning.task.created"]) as events:
            for _ in range(count):
                params = events.wait(0.5)
                if params is None:
                    return
                if "reason" in params:
                    self.faults.append(params["reason"])
                    return
                self.heard.append(params["event"]["sequence"])
                self.cursor = params["cursor"]


class Writer(threading.Thread):
    """Creates tasks, and repeats with its key what was not answered."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.answered = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                with self.world.client() as client:
                    while not self.done.is_set():
                        title = f"task {self.answered}"
                        client.call("planning.tasks.create", {"title": title, "idempotency_key": title}, timeout=LIMIT)
                        self.answered += 1
                        self.done.wait(0.005)
            except (IpcError, OSError):
                time.sleep(0.01)


def test_a_hundred_reconnects_lose_and_double_nothing(world: World) -> None:
    daemon = world.serve()
    follower, writer = Follower(world), Writer(world)
    follower.start()
    writer.start()
    for number, trouble in enumerate(TROUBLES, 1):
        _until(lambda due=number * EACH: follower.connections >= due)
        if trouble == "handover":
            ended = world.run("daemon", "handover")
            assert ended.returncode == 0, ended.stderr
            assert daemon.end() == 0
            continue
        if trouble == "stop":
            world.stop()
        else:
            daemon.popen.kill()
            daemon.end()
        daemon = world.serve()
    _until(lambda: follower.connections >= RECONNECTS)
    writer.done.set()
    writer.join(LIMIT)
    written = _written(world)
    _until(lambda: len(follower.heard) >= len(written))
    follower.done.set()
    follower.join(LIMIT)
    assert follower.faults == []
    assert follower.heard == [sequence for sequence, _ in written]
    titles = _titles(world)
    assert len(titles) == len(written)
    assert sorted(titles) == sorted({*titles})
    assert {f"task {number}" for number in range(writer.answered)} <= {*titles}
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


def _until(holds: Any) -> None:
    end = time.monotonic() + 2 * LIMIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def _base(world: World) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{(world.data / 'coder-local.db').as_uri()}?mode=ro", uri=True))


def _written(world: World) -> list[tuple[int, str]]:
    with _base(world) as base:
        found = base.execute("SELECT seq, subject FROM event WHERE type = 'planning.task.created' ORDER BY 1")
        return found.fetchall()


def _titles(world: World) -> list[str]:
    with _base(world) as base:
        return [title for (title,) in base.execute("SELECT title FROM planning_tasks")]
