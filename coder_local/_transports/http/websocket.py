"""WebSockets: frames that are encoded once, written straight to the transport, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import cast

from aiohttp import web

from coder_local._admission.doors import SUBPROTOCOL
from coder_local.api import Invalid

from .connection import Connection
from .exchange import Exchange, Problem

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


async def accept(exchange: Exchange, *, message_limit: int) -> web.WebSocketResponse:
    """Answer the handshake. Raises a `Problem` for a request that is none."""
    offered = exchange.request.headers.getall("Sec-WebSocket-Protocol", [])
    if offered and SUBPROTOCOL not in [name.strip() for offer in offered for name in offer.split(",")]:
        # aiohttp would log the offers as a warning, and a token may be among them.
        raise Problem(Invalid(f"the subprotocol here is {SUBPROTOCOL}", hint=f"offer {SUBPROTOCOL}, or none"), 400)
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,), compress=False, timeout=CLOSE_SECONDS, max_msg_size=message_limit
    )
    socket.headers.update(exchange.common)
    try:
        await socket.prepare(exchange.request)
    except web.HTTPException as error:
        wrong = Invalid(f"{exchange.path} is a WebSocket", hint="connect with a WebSocket client, version 13")
        raise Problem(wrong, 426, {"Upgrade": "websocket"}) from error
    return socket


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

    def unsent(self) -> int:
        """Return how many bytes wait for the peer."""
        transport = self._request.transport
        return 0 if transport is None else transport.get_write_buffer_size()

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
