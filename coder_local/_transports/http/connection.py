"""One TCP connection: aiohttp's, with a time limit for headers, a signal when the peer keeps up again, our errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web

from coder_local.api import Broken, Invalid

from . import problems

_log = logging.getLogger("coder_local.http")
HEADER_SECONDS = 10.0
"""A request's headers must be whole so long after their first byte, or they are dripped in to hold the connection."""
KEEP_ALIVE_SECONDS = 75.0
CONNECTIONS = 1024
"""Connections at a time, where no setting says otherwise."""
BODY_LIMIT = 16 * 1024 * 1024


class Connection(web.RequestHandler):
    """aiohttp's connection, watched."""

    __slots__ = ("_late", "_room", "header_seconds", "on_drain")

    def __init__(self, manager: web.Server, *, header_seconds: float, room: Callable[[], bool], **options: Any) -> None:
        super().__init__(manager, **options)
        self._room = room
        self.on_drain: Callable[[], None] | None = None
        """Called when the peer has taken what was written, after it had not kept up."""
        self.header_seconds = header_seconds
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or hang up at once where there are too many: nobody was promised anything yet."""
        if self._room():
            super().connection_made(transport)
        else:
            cast("asyncio.Transport", transport).abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; start the clock when they begin headers that do not end."""
        super().data_received(data)
        if self._late is None:
            if not self._messages and not self._request_in_progress and self._idle():
                self._late = self._loop.call_later(self.header_seconds, self._give_up, self._request_count)
        elif self._messages:
            self._late.cancel()
            self._late = None

    def _idle(self) -> bool:
        return self._request_count == 0 if self._waiter is None else not self._waiter.done()

    def _give_up(self, count: int) -> None:
        self._late = None
        if self._request_count == count and self._idle():
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the clock."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Tell whoever waits to write on."""
        super().resume_writing()
        if self.on_drain is not None:
            self.on_drain()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes what was sent
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or a fault of ours, in the one shape of errors; the connection is closed."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun and cannot become an error")
        if status >= 500:
            self.log_exception("a request failed outside its handler", exc_info=exc)
            answer = problems.response(Broken("the request failed; this is a fault of the program"), "")
        else:
            answer = problems.response(Invalid("this is no HTTP request that can be read"), "", status=status)
        answer.force_close()
        return answer


class Server(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(
        self, handler: Any, *, header_seconds: float = HEADER_SECONDS, most: Callable[[], int] = lambda: CONNECTIONS
    ) -> None:
        super().__init__(handler, request_factory=self._request, handler_cancellation=True)
        self._header_seconds = header_seconds
        self._most = most
        self._full = False

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            header_seconds=self._header_seconds,
            room=self._has_room,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,
            auto_decompress=False,  # a small body must not become a large one behind the limit
            lingering_time=1.0,
        )

    def _has_room(self) -> bool:
        full = len(self.connections) >= self._most()
        if full and not self._full:
            _log.warning("there are %d connections over HTTP: others are hung up on", len(self.connections))
        self._full = full
        return not full

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=BODY_LIMIT)
