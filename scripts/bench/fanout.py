"""One event to 1,000 WebSocket subscribers: from the first that has it to the last.

Floor: a bare aiohttp application that, told to, encodes one event of the same shape once and awaits `send_str` for each
of its WebSockets. The clients are one process with raw sockets, the same for both. Counted from the first delivery,
because the daemon's event also waits for a durable commit, which is another figure.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import Figure, interleave, main, median
from servers import Server, daemon_command, floor_command, folders, serving, spawn, stop

SUBSCRIBERS = 1000
ROUNDS = 15
_EVENT = {
    "specversion": "1.0",
    "id": "0193a000-0000-7000-8000-000000000000:1",
    "source": "coder-local",
    "type": "bench.item.created",
    "subject": "bench.item/0193a000-0000-7000-8000-000000000000",
    "time": "2026-11-20T16:15:27.123Z",
    "sequence": 1,
    "actor": "user",
    "data": {"id": "0193a000-0000-7000-8000-000000000000", "rev": 1, "changed": []},
}


def _floor() -> None:
    from aiohttp import web  # noqa: PLC0415 - only the floor pays for it

    sockets: list[web.WebSocketResponse] = []

    async def subscribe(request: web.Request) -> web.WebSocketResponse:
        ready = web.WebSocketResponse(compress=False)
        await ready.prepare(request)
        await ready.send_str('{"hello":{}}')
        sockets.append(ready)
        async for _ in ready:
            pass
        return ready

    async def say(request: web.Request) -> web.Response:  # noqa: ARG001
        text = json.dumps({"event": _EVENT})
        for each in sockets:
            await each.send_str(text)
        return web.Response()

    _allow_many_files()
    application = web.Application()
    application.router.add_get("/ws", subscribe)
    application.router.add_post("/say", say)
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    (Path(sys.argv[3]) / "port").write_text(str(listening.getsockname()[1]), "utf-8")
    web.run_app(application, sock=listening, access_log=None, print=None)


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def _subscribe(port: int, token: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(20)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    connection.sendall(head.encode())
    data = b""
    while b'"hello"' not in data:
        more = connection.recv(65_536)
        if not more:
            raise RuntimeError(data.decode(errors="replace"))
        data += more
    return connection


class Audience:
    """All subscribers of one server."""

    def __init__(self, port: int, token: str = "") -> None:
        self._selector = selectors.DefaultSelector()
        self._connections = [_subscribe(port, token) for _ in range(SUBSCRIBERS)]
        for connection in self._connections:
            self._selector.register(connection, selectors.EVENT_READ)

    def hear(self, say: Callable[[], None]) -> float:
        """Return the milliseconds from the first delivery of what is said to the last."""
        say()
        missing = {connection.fileno() for connection in self._connections}
        first = 0.0
        while missing:
            for key, _ in self._selector.select(20):
                heard = key.fileobj
                assert isinstance(heard, socket.socket)  # noqa: S101 - for the type checker
                if b'"event"' in heard.recv(65_536):
                    first = first or time.perf_counter()
                    missing.discard(heard.fileno())
        return (time.perf_counter() - first) * 1000

    def close(self) -> None:
        """Leave."""
        for connection in self._connections:
            connection.close()
        self._selector.close()


def _wait_for_port(server: Server) -> int:
    path, end = server.folder / "port", time.monotonic() + 20
    while not (path.exists() and path.read_text("utf-8")):
        if time.monotonic() > end:
            raise RuntimeError((server.folder / "log").read_text("utf-8"))
        time.sleep(0.01)
    return int(path.read_text("utf-8"))


def run() -> list[Figure]:
    """Measure."""
    _allow_many_files()
    with folders("daemon", "floor") as (ours, theirs), serving(daemon_command(ours, http=True), ours) as daemon:
        floor = spawn(floor_command(__file__, "sends", theirs), theirs)
        try:
            port = _wait_for_port(floor)
            found = daemon.runtime()
            audiences = Audience(int(found["http"].rpartition(":")[2]), found["token"]), Audience(port)
            post = f"POST /say HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            kept: list[socket.socket] = []

            def say() -> None:
                kept.append(socket.create_connection(("127.0.0.1", port)))
                kept[-1].sendall(post.encode())

            sides = interleave(
                lambda: audiences[0].hear(lambda: daemon.call("bench.fill", first=0, count=1)),
                lambda: audiences[1].hear(say),
                ROUNDS,
            )
            for audience in audiences:
                audience.close()
            for connection in kept:
                connection.close()
        finally:
            stop(floor)
    name = f"one event to {SUBSCRIBERS:,} WebSocket subscribers, first to last"
    return [Figure(name, "ms", *(median(side) for side in sides), 3.0)]


if __name__ == "__main__":
    main(run, {"sends": _floor})
