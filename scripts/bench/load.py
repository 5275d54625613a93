"""The load generator: a process of its own that keeps a number of clients busy, each with one call at a time.

Raw sockets and one selector: about 8 us a call, so that it is never what is measured. The same for both sides.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from servers import Server, connect, environment, read_frame

_WARM_UP = 0.15


class Load(NamedTuple):
    """What the clients saw: calls a second, latencies in us; and the server's processor time for each call in us."""

    rate: float
    p50: float
    p99: float
    cpu: float


def load(server: Server, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Send requests (frames, each client in turn) from a process of its own, and return what it saw."""
    file = server.folder / "requests.json"
    file.write_text(json.dumps([request.decode() for request in requests]), "utf-8")
    before = server.cpu_seconds()
    command = [sys.executable, __file__, server.socket, str(clients), str(seconds), str(file)]
    answer = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True).stdout
    count, rate, p50, p99 = json.loads(answer)
    return Load(rate, p50, p99, (server.cpu_seconds() - before) / count * 1e6)


def one(path: str, requests: Sequence[bytes], seconds: float) -> list[float]:
    """Return the latencies of one client that waits for each answer."""
    latencies: list[float] = []
    clock = time.perf_counter
    with connect(path) as connection:
        client = Client(connection, 0)
        send, is_answered = connection.sendall, client.is_answered
        check(requests, connection)
        end = clock() + seconds
        while clock() < end:
            for request in requests:
                begun = clock()
                send(request)
                while not is_answered():
                    pass
                latencies.append(clock() - begun)
    return latencies


def check(requests: Sequence[bytes], connection: socket.socket) -> None:
    """Raise if the server does not answer the first request with a result."""
    connection.sendall(requests[0])
    answer = read_frame(connection)
    if b'"result":' not in answer[:60]:
        raise RuntimeError(answer[:500].decode())


class Client:
    """One of many clients."""

    __slots__ = ("begun", "connection", "missing", "next", "receive", "send")

    def __init__(self, connection: socket.socket, begin: int) -> None:
        self.connection = connection
        self.receive, self.send = connection.recv, connection.send
        self.next = begin
        self.begun = 0.0
        self.missing = 0

    def is_answered(self) -> bool:
        """Read what is there, and tell whether the answer is whole."""
        data = self.receive(1_048_576)
        if self.missing:
            self.missing -= len(data)
        else:
            if not data.startswith(b"Content-Length: "):
                raise RuntimeError(f"the server hung up, or sent {data[:100]!r}")
            end = data.index(b"\r\n\r\n")
            self.missing = int(data[16:end]) + end + 4 - len(data)
        return not self.missing


def many(path: str, requests: Sequence[bytes], clients: int, seconds: float) -> tuple[list[float], float]:
    """Return the latencies of many clients, and the seconds they took."""
    clock, latencies = time.perf_counter, list[float]()
    count = len(requests)
    with selectors.DefaultSelector() as selector:
        made = [Client(connect(path), index * count // clients) for index in range(clients)]
        check(requests, made[0].connection)
        begun = clock()
        for client in made:
            selector.register(client.connection, selectors.EVENT_READ, client)
            client.begun = clock()
            client.send(requests[client.next % count])
        now, warm, end = begun, begun + _WARM_UP, begun + _WARM_UP + seconds
        while now < end:
            for key, _ in selector.select(5):
                client = key.data
                if client.is_answered():
                    now = clock()
                    if now > warm:
                        latencies.append(now - client.begun)
                    client.next += 1
                    client.begun = now
                    client.send(requests[client.next % count])
        for client in made:
            client.connection.close()
    return latencies, now - warm


def main(path: str, clients: int, seconds: float, file: Path) -> None:
    """Run as a process: print calls, calls a second, p50 and p99 as JSON."""
    requests = [text.encode() for text in json.loads(file.read_text("utf-8"))]
    if clients == 1:
        latencies, took = one(path, requests, seconds), seconds
    else:
        latencies, took = many(path, requests, clients, seconds)
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * part)] * 1e6 for part in (0.5, 0.99))
    print(json.dumps([len(latencies), len(latencies) / took, p50, p99]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
