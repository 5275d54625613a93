"""Server-sent events, written straight to the transport so that a slow reader is noticed and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from aiohttp import HttpVersion11, web

from .connection import Connection

HEARTBEAT = 15.0
"""Seconds between two comments, which tell both ends that the other is there."""


class EventStream:
    """One answer of server-sent events. Make it, `open` it, `write`, wait with `closed`, and `end` it."""

    def __init__(self, request: web.BaseRequest, common: Mapping[str, str]) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={**common, "Content-Type": "text/event-stream; charset=utf-8"})
        self._connection = cast("Connection", request.protocol)
        self._chunked = request.version >= HttpVersion11
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beating: asyncio.TimerHandle | None = None
        self._alive: Callable[[], bool] = lambda: True

    async def open(self, first: bytes, *, alive: Callable[[], bool], heartbeat: float = HEARTBEAT) -> None:
        """Send the headers and a first block, and begin to beat; when `alive` says no, the stream is closed."""
        await self._response.prepare(self._request)
        await self._response.write(first)  # by aiohttp's writer, which sends the headers with the first bytes
        self._alive = alive
        self._beat(heartbeat, first=True)

    def write(self, block: bytes) -> bool:
        """Write a block, and tell whether the reader keeps up; if not, `on_drain` is called when it does again."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            self.close()
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(block), block) if self._chunked else block)
        return not self._connection.writing_paused

    @property
    def keeps_up(self) -> bool:
        """Whether the reader has taken nearly all that was written."""
        return not self._connection.writing_paused

    def on_drain(self, function: Callable[[], None]) -> None:
        """Call a function whenever the reader keeps up again."""
        self._connection.on_drain = function

    def close(self) -> None:
        """Let `closed` return."""
        if not self._closed.done():
            self._closed.set_result(None)

    async def closed(self) -> None:
        """Wait for the end: `close`, or the reader's leaving, which cancels the waiting task."""
        await self._closed

    async def end(self) -> web.StreamResponse:
        """Finish the answer and return it."""
        self._connection.on_drain = None
        if self._beating is not None:
            self._beating.cancel()
        self._response.force_close()
        return self._response

    def _beat(self, every: float, *, first: bool = False) -> None:
        if not first:
            if not self._alive():
                self.close()
                return
            if self.keeps_up:  # one that does not gets no more bytes, or the buffer would grow
                self.write(b":\n\n")
        self._beating = asyncio.get_running_loop().call_later(every, self._beat, every)


def block(event: str, data: bytes, id_: str = "") -> bytes:
    """Return one event. `data` is JSON, which has no line ends of its own."""
    id_line = b"id: %b\n" % id_.encode() if id_ else b""
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), id_line, data)
