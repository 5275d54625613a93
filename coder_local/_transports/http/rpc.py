"""`/rpc`: the JSON-RPC of the socket over a WebSocket, one message a frame."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from coder_local._admission.admission import Admission
from coder_local._registry.kernel import Kernel
from coder_local._transports.jsonrpc.session import Session

from .connection import BODY_LIMIT
from .exchange import Exchange
from .websocket import REVOKED, Pipe, Sockets, accept, text_frame

_CLOSED = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}
_LOOK_EVERY = 15.0
"""Seconds between two looks at whether the caller's token still holds."""


class Rpc:
    """Serves `/rpc`."""

    def __init__(self, kernel: Kernel, admission: Admission) -> None:
        self._kernel = kernel
        self._admission = admission
        self._sockets = Sockets()

    def close(self) -> None:
        """Close every connection: the server stops."""
        self._sockets.close()

    async def socket(self, exchange: Exchange) -> web.StreamResponse:
        """Answer one connection until it ends."""
        socket = await accept(exchange, message_limit=BODY_LIMIT)
        pipe = Pipe(exchange.request)
        session = Session(
            self._kernel,
            exchange.principal,
            lambda body: void(pipe.write(text_frame(body))),
            pipe.writable,
            unsent=pipe.unsent,
        )
        drained = asyncio.Event()

        def on_drain() -> None:
            drained.set()
            session.resume()

        pipe.on_drain(on_drain)
        self._kernel.clients.came()
        try:
            with self._sockets.holding(socket):
                await self._serve(socket, exchange, session, pipe, drained)
        finally:
            self._kernel.clients.left()
            pipe.on_drain(None)
            session.close()
        return socket

    async def _serve(
        self, socket: web.WebSocketResponse, exchange: Exchange, session: Session, pipe: Pipe, drained: asyncio.Event
    ) -> None:
        look = None if exchange.principal.token is None else _LOOK_EVERY
        while True:
            while not pipe.writable():  # answers are not read: no more calls are taken, or they would pile up here
                drained.clear()
                await drained.wait()
            message = None
            with contextlib.suppress(TimeoutError):
                message = await socket.receive(look)
            if not self._admission.holds(exchange.principal):
                await socket.close(code=REVOKED, message=b"the token was revoked")
                return
            if message is None:
                continue
            if message.type in _CLOSED:
                return
            if message.type is WSMsgType.TEXT:
                session.receive(message.data.encode())
            elif message.type is WSMsgType.BINARY:
                session.receive(message.data)


def void(_: bool) -> None:
    """Take an answer that nobody needs."""
