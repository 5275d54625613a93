"""WebSockets: frames that are encoded once, written straight to the transport, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import cast

from aiohttp import web

from .connection import Connection

CLOSE_SECONDS = 2.0
"""How long a peer has to answer our wish to close."""
GOING_AWAY = 1001
REVOKED = 4401
"""Close code after the caller's token was revoked."""


def text_frame(body: bytes) -> bytes:
    """Return a WebSocket text frame as a server sends it: whole, unmasked, not compressed (RFC 6455, 5.2)."""
    size = len(body)
    if size < 126:
        return b"\x81%c%b" % (size, body)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), body)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), body)


class Pipe:
    """The transport of a WebSocket, for frames that are encoded already."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._connection = cast("Connection", request.protocol)

    def write(self, frames: bytes) -> bool:
        """Write whole frames, and tell whether the peer keeps up."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(frames)
        return not self._connection.writing_paused

    def writable(self) -> bool:
        """Tell whether the peer keeps up."""
        return not self._connection.writing_paused

    def on_drain(self, function: Callable[[], None] | None) -> None:
        """Call a function whenever the peer keeps up again."""
        self._connection.on_drain = function


class Sockets:
    """The open WebSockets, which are told to go when the server stops."""

    def __init__(self) -> None:
        self._open: set[web.WebSocketResponse] = set()
        self._closing: set[asyncio.Task[bool]] = set()  # the loop itself holds its tasks weakly

    @contextlib.contextmanager
    def holding(self, socket: web.WebSocketResponse) -> Generator[None]:
        """Count a WebSocket among the open ones."""
        self._open.add(socket)
        try:
            yield
        finally:
            self._open.discard(socket)

    def close(self) -> None:
        """Begin to close them all."""
        for socket in self._open:
            closing = socket.close(code=GOING_AWAY, message=b"the daemon stops")
            task = asyncio.get_running_loop().create_task(closing)
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
