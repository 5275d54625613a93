"""REST `get` of one record: throughput of 32 clients with kept connections, and latency of one.

Floor: a bare aiohttp application with one route, that reads the same row on a connection in the loop, puts it into a
Struct and encodes that. It knows no token, no host, no other operation, no ETag, no request id.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

import floors
import msgspec
from measure import Figure, interleave, main, median
from servers import Server, daemon_command, environment, fill, floor_command, folders, serving, spawn, stop

ROWS = 1000
ROUNDS = 9
CLIENTS = 32
SECONDS = 0.7
_PATH = "/api/bench/items/"


def _floor() -> None:
    """Serve the floor for the folder on the command line; its port stands in the file `port`."""
    from aiohttp import web  # noqa: PLC0415 - only the floor pays for it

    folder = Path(sys.argv[3])
    connection = floors.open_items(folder)
    ids = floors.insert_items(connection, 0, ROWS)
    encode = msgspec.json.Encoder().encode
    sql = f"SELECT {floors.FIELDS} FROM bench_items WHERE id = ? AND deleted_at IS NULL"  # noqa: S608

    async def get(request: web.Request) -> web.Response:
        row = connection.execute(sql, (request.match_info["id"],)).fetchone()
        if row is None:
            raise web.HTTPNotFound
        return web.Response(body=encode(floors.item_of(row)), content_type="application/json")

    application = web.Application()
    application.router.add_get(_PATH + "{id}", get)
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    (folder / "port").write_text(json.dumps([listening.getsockname()[1], ids]), "utf-8")
    web.run_app(application, sock=listening, access_log=None, print=None)


class Client:
    """One connection that asks again as soon as it is answered."""

    __slots__ = ("begun", "connection", "data", "next")

    def __init__(self, port: int, begin: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next = begin
        self.begun = 0.0
        self.data = b""

    def is_answered(self) -> bool:
        """Read what is there, and tell whether the answer is whole."""
        self.data += self.connection.recv(262_144)
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self.data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self.data[:500].decode())
        at = self.data.index(b"Content-Length: ") + 16
        if len(self.data) < end + 4 + int(self.data[at : self.data.index(b"\r\n", at)]):
            return False
        self.data = b""
        return True


def _load(port: int, clients: int, seconds: float, file: Path) -> None:
    """Run as a process: print calls a second and p50 in us as JSON."""
    requests = [text.encode() for text in json.loads(file.read_text("utf-8"))]
    count, latencies, clock = len(requests), list[float](), time.perf_counter
    with selectors.DefaultSelector() as selector:
        for index in range(clients):
            client = Client(port, index * count // clients)
            selector.register(client.connection, selectors.EVENT_READ, client)
            client.begun = clock()
            client.connection.send(requests[client.next])
        begun = now = clock()
        while now < begun + seconds:
            for key, _ in selector.select(5):
                client = key.data
                if client.is_answered():
                    now = clock()
                    latencies.append(now - client.begun)
                    client.next = (client.next + 1) % count
                    client.begun = now
                    client.connection.send(requests[client.next])
    latencies.sort()
    print(json.dumps([len(latencies) / (now - begun), latencies[len(latencies) // 2] * 1e6]))


def _measure(port: int, file: Path, clients: int) -> tuple[float, float]:
    command = [sys.executable, __file__, "--load", str(port), str(clients), str(SECONDS), str(file)]
    answer = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True).stdout
    rate, p50 = json.loads(answer)
    return rate, p50


def _compare(
    ours: tuple[int, Path], floor: tuple[int, Path], clients: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    return interleave(lambda: _measure(*ours, clients), lambda: _measure(*floor, clients), ROUNDS)


def _requests(folder: Path, ids: list[str], port: int, token: str) -> Path:
    lines = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\r\n"
    file = folder / "requests.json"
    file.write_text(json.dumps([f"GET {_PATH}{id_} HTTP/1.1\r\n{lines}" for id_ in ids]), "utf-8")
    return file


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def _port_of(server: Server) -> tuple[int, list[str]]:
    end = time.monotonic() + 30
    while not (server.folder / "port").exists() and time.monotonic() < end:
        time.sleep(0.01)
    port, ids = json.loads((server.folder / "port").read_text("utf-8"))
    return port, ids


def run() -> list[Figure]:
    """Measure."""
    with folders("daemon", "floor") as (ours, theirs), serving(daemon_command(ours, http=True), ours) as daemon:
        found = daemon.runtime()
        port = int(found["http"].rpartition(":")[2])
        mine = _requests(ours, fill(daemon, ROWS), port, found["token"])
        floor = spawn(floor_command(__file__, "get", theirs), theirs)
        try:
            floor_port, ids = _port_of(floor)
            _wait_for(floor_port)
            bare = _requests(theirs, ids, floor_port, found["token"])
            many, one = (_compare((port, mine), (floor_port, bare), clients) for clients in (CLIENTS, 1))
        finally:
            stop(floor)
    rates = [median(rate for rate, _ in side) for side in many]
    p50 = [median(each for _, each in side) for side in one]
    return [
        Figure(f"REST `get`, {CLIENTS} clients", "calls/s", *rates, 0.7, more_is_better=True),
        Figure("REST `get`, one client, p50", "us", *p50, 1 / 0.7),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        _load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
    else:
        main(run, {"get": _floor})
