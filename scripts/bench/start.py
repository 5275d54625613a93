"""From spawn to the first answer: on the socket, of a bundled domain, of `/health`; all plugins, at a warm start.

Floor of the socket: a process that imports asyncio, sqlite3 and msgspec, opens a database of its own in WAL mode, reads
one row and answers each frame. Floor of HTTP: a bare aiohttp application with one route. A client asks again and again
from the moment of the spawn.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import Figure, interleave, main, median
from servers import Server, connect, folders, frame, read_frame, spawn, stop

ROUNDS = 15


_SOCKET_FLOOR = """
import asyncio, sqlite3, sys
import msgspec

class Hello(msgspec.Struct):
    id: int
    result: str

class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        body = encode(Hello(1, "hello"))
        self.transport.write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))

async def run():
    server = await asyncio.get_running_loop().create_unix_server(Protocol, sys.argv[1] + "/daemon.sock")
    await server.serve_forever()

connection = sqlite3.connect(sys.argv[1] + "/floor.db", isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
encode = msgspec.json.Encoder().encode
asyncio.run(run())
"""
_HTTP_FLOOR = """
import sys
from aiohttp import web

async def health(request):
    return web.json_response({"status": "ok"})

app = web.Application()
app.router.add_get("/health", health)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None)
"""


def _floor(source: str, folder: Path, *more: str) -> list[str]:
    # From a text, because a floor that imported this file would pay for what measures it.
    return [sys.executable, "-c", source, str(folder), *more]


def _daemon(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "coder_local", "serve", "--data-dir", str(folder), *more]


def timed(command: list[str], folder: Path, ask: Callable[[Server], bool]) -> float:
    """Return the milliseconds from spawn until `ask` is answered; it raises `OSError` while nobody listens."""
    begun = time.perf_counter()
    server = spawn(command, folder)
    try:
        while True:
            try:
                if ask(server):
                    return (time.perf_counter() - begun) * 1000
            except OSError:
                if time.perf_counter() > begun + 20 or server.process.poll() is not None:
                    raise RuntimeError(f"it does not answer:\n{(folder / 'log').read_text('utf-8')}") from None
            time.sleep(0.001)
    finally:
        stop(server)


def _answered(server: Server, method: str) -> bool:
    with connect(server.socket) as connection:
        connection.sendall(frame(method, {}))
        return b'"result"' in read_frame(connection)


def hello(server: Server) -> bool:
    """Ask who is there, which needs no plugin."""
    return _answered(server, "initialize")


def _projects(server: Server) -> bool:
    return _answered(server, "planning.projects.list")


def _health(port: int, *, token: bool) -> Callable[[Server], bool]:
    def ask(server: Server) -> bool:
        more = f"Authorization: Bearer {server.runtime()['token']}\r\n" if token else ""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{more}\r\n"
            connection.sendall(head.encode())
            answer = connection.recv(65_536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer[:300].decode())
        return True

    return ask


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def socket_figure(name: str, ask: Callable[[Server], bool], goal: float, note: str = "") -> Figure:
    """Measure the first answer to a call on the socket."""
    with folders("daemon", "floor") as (ours, theirs):
        sides = interleave(
            lambda: timed(_daemon(ours), ours, ask),
            lambda: timed(_floor(_SOCKET_FLOOR, theirs), theirs, ask),
            ROUNDS,
        )
    return Figure(f"spawn to the first answer {name}", "ms", *(median(side) for side in sides), goal, note=note)


def http_figure() -> Figure:
    """Measure the first answer of `/health`."""
    with folders("daemon", "floor") as (ours, theirs):
        ports = _free_port(), _free_port()
        sides = interleave(
            lambda: timed(_daemon(ours, "--http-port", str(ports[0])), ours, _health(ports[0], token=True)),
            lambda: timed(_floor(_HTTP_FLOOR, theirs, str(ports[1])), theirs, _health(ports[1], token=False)),
            ROUNDS,
        )
    return Figure("spawn to the first HTTP `/health`", "ms", *(median(side) for side in sides), 1.5)


def run() -> list[Figure]:
    """Measure."""
    return [
        socket_figure("on the socket", hello, 1.6),
        socket_figure("of planning", _projects, float("inf"), note="no goal set"),
        http_figure(),
    ]


if __name__ == "__main__":
    main(run, {})
