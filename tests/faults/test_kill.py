"""SIGKILL at any moment: answered writes are there, nothing is half there, the next start is an ordinary one."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from typing import Any

import pytest

from coder_ipc import IpcError
from coder_ipc.client import Client

from .process import Process

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")]
ROUNDS = int(os.environ.get("CODER_LOCAL_KILL_ROUNDS", "8"))


class Writer(threading.Thread):
    """Writes notes on a connection of its own until it is cut off, and remembers what was answered."""

    def __init__(self, process: Process, number: int) -> None:
        super().__init__(daemon=True)
        self.client = Client.connect(process.data_dir)
        self.number = number
        self.answered: dict[str, int] = {}

    def run(self) -> None:
        count = 0
        try:
            while True:  # until it is cut off
                title = f"{self.number}-{count}"
                note = self.client.call("notes.create", {"workspace": "w", "title": title, "body": "x" * 500})
                self.answered[note["id"]] = note["rev"]
                if count % 3 == 0:
                    self.answered[note["id"]] = self.client.call("notes.pin", {"id": note["id"]})["rev"]
                count += 1
        except (IpcError, OSError):
            return
        finally:
            self.client.close()


def found(process: Process) -> dict[str, dict[str, Any]]:
    """Read the file itself, without the daemon."""
    database = sqlite3.connect(f"file:{process.data_dir}/coder-local.db?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    rows = {row["id"]: dict(row) for row in database.execute("SELECT * FROM notes")}
    events = database.execute("SELECT count(*) FROM event WHERE type = 'notes.note.created'").fetchone()[0]
    changes = database.execute("SELECT count(*) FROM change WHERE before IS NULL").fetchone()[0]
    assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    database.close()
    assert len(rows) == events == changes, "a record, its event and its change are written together or not at all"
    return rows


def test_every_answered_write_survives_a_kill_under_load(daemon: Process) -> None:
    answered: dict[str, int] = {}
    chance = random.Random(7)
    for round_ in range(ROUNDS):
        writers = [Writer(daemon, round_ * 100 + number) for number in range(4)]
        for writer in writers:
            writer.start()
        pause = threading.Event()
        pause.wait(chance.uniform(0.05, 0.5))
        daemon.kill()
        for writer in writers:
            writer.join(30)
            answered |= writer.answered
        rows = found(daemon)
        lost = [id for id, rev in answered.items() if id not in rows or rows[id]["rev"] < rev]
        assert not lost
        daemon.start()
    assert len(answered) > ROUNDS
    assert daemon.call("notes.list", limit=1)["items"]


def test_the_event_log_goes_on_across_a_kill_without_gap_or_double(daemon: Process) -> None:
    cursor = daemon.call("events.list", limit=1)["head"]
    heard: list[int] = []
    for _ in range(3):
        for number in range(5):
            daemon.call("notes.create", workspace="w", title=str(number))
        with daemon.client() as client:
            events = client.events(cursor=cursor, types=["notes.note.created"])
            for _ in range(5):
                params = next(events)
                heard.append(params["event"]["sequence"])
                cursor = params["cursor"]
        daemon.kill()
        daemon.start()
    assert len(heard) == 15
    assert heard == sorted(set(heard))


def test_a_killed_daemon_leaves_nothing_that_stands_in_the_way(daemon: Process) -> None:
    daemon.kill()
    assert (daemon.data_dir / "runtime.json").exists()
    began = time.monotonic()
    ready = daemon.start()
    assert ready["event"] == "ready"
    assert time.monotonic() - began < 10
    assert daemon.terminate() == 0
    assert not (daemon.data_dir / "runtime.json").exists()
    assert not (daemon.data_dir / "daemon.sock").exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_and_what_was_asked_is_answered(daemon: Process, how: int) -> None:
    writer = Writer(daemon, 1)
    writer.start()
    while not writer.answered:
        assert writer.is_alive()
    os.kill(daemon.pid, how)
    assert daemon.wait() == 0
    writer.join(10)
    rows = found(daemon)
    assert writer.answered.keys() <= rows.keys()
