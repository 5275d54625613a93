"""A daemon that is told to stop: whatever it has done is answered, also to who reads late."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from coder_ipc import framing

from .process import Process

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform == "win32", reason="uses a Unix socket by its path"),
]


def head(daemon: Process) -> int:
    return int(daemon.call("daemon.status")["event_head"].rpartition(":")[2])


def notes(daemon: Process) -> int:
    """Return how many notes are kept by a daemon that has stopped."""
    with closing(sqlite3.connect(daemon.data_dir / "coder-local.db")) as database:
        return int(database.execute("SELECT count(*) FROM notes").fetchone()[0])


@pytest.fixture
def client(daemon: Process) -> Iterator[Late]:
    made = Late(daemon.call("daemon.status")["socket"])
    yield made
    made.socket.close()


class Late:
    """A client that sends all at once, and reads when it likes."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address)
        self.socket.settimeout(20)
        self.parser = framing.FrameParser(2**26)

    def send(self, *calls: tuple[str, dict[str, Any]]) -> None:
        messages = (
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        )
        self.socket.sendall(b"".join(framing.encode(json.dumps(each).encode()) for each in messages))

    def answers(self) -> Iterator[dict[str, Any]]:
        """Return the answers until the daemon hangs up; that it stops is told as well, and answers nothing."""
        while data := self.socket.recv(2**20):
            yield from (each for each in map(json.loads, self.parser.feed(data)) if "id" in each)


def test_every_committed_answer_reaches_a_client_that_reads_only_later(daemon: Process, client: Late) -> None:
    calls = 45  # what they answer is under 1 MiB, over which a daemon reads no more from a client that does not read
    before = head(daemon)
    client.send(*(("notes.create", {"workspace": "w", "title": str(n), "body": "x" * 20_000}) for n in range(calls)))
    while head(daemon) < before + calls:  # committed, and nobody reads
        time.sleep(0.01)
    assert daemon.popen is not None
    daemon.popen.send_signal(signal.SIGTERM)
    with pytest.raises(Exception, match="timed out"):
        daemon.popen.wait(1.5)  # the client's pause, in which the daemon waits for it
    assert sum("result" in each for each in client.answers()) == calls
    assert daemon.wait() == 0
    assert notes(daemon) == calls


def test_a_client_that_never_reads_does_not_keep_the_daemon(daemon: Process, client: Late) -> None:
    note = daemon.call("notes.create", workspace="w", title="t", body="x" * 60_000)
    client.send(*(("notes.get", {"id": note["id"]}) for _ in range(100)))
    daemon.call("daemon.status")
    begun = time.monotonic()
    assert daemon.terminate() == 0
    assert time.monotonic() - begun < 15
    assert not (daemon.data_dir / "runtime.json").exists()


def test_the_queries_that_wait_for_the_reader_are_answered(daemon: Process, client: Late) -> None:
    for number in range(30):
        daemon.call("notes.create", workspace="w", title=str(number), body="x" * 20_000)
    client.send(*(("notes.list", {"limit": 500, "q": "x", "sort": "title"}) for _ in range(90)))
    answers = client.answers()
    first = next(answers)
    assert daemon.popen is not None
    daemon.popen.send_signal(signal.SIGTERM)
    rest = list(answers)
    assert len([first, *rest]) == 90
    assert all("result" in each or each["error"]["data"]["kind"] == "locked" for each in rest)
    assert daemon.wait() == 0
    assert notes(daemon) == 30
