"""What comes in pieces over HTTP as server-sent events: the items of a stream, the progress of an action."""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from coder_local._admission.admission import Admission
from coder_local._registry.dispatch import Call
from coder_local._registry.kernel import Kernel
from coder_local.api import Error, Invalid

from . import problems, sse
from .exchange import Exchange
from .rest import Sent, check_json, with_headers
from .routes import Found, Target

_PROGRESS_INTERVAL = 0.1
_encode = msgspec.json.Encoder().encode


def is_asked_for(exchange: Exchange) -> bool:
    """Tell whether the caller takes server-sent events, and named no other kind of answer before them."""
    first = (exchange.header("Accept") or "").partition(",")[0]
    return first.partition(";")[0].strip().lower() == "text/event-stream"


class Streams:
    """Answers requests for stream operations. Events: `item`, at the end `end`, or `error` with a problem.

    And for actions whose caller asks for it: `progress`, at the end `result`, or `error`.
    """

    def __init__(self, kernel: Kernel, admission: Admission) -> None:
        self._kernel = kernel
        self._admission = admission
        self._open: set[sse.EventStream] = set()

    def close(self) -> None:
        """End every stream: the server stops."""
        for stream in list(self._open):
            stream.close()

    async def answer(self, exchange: Exchange, target: Target, found: Found) -> web.StreamResponse:
        """Answer with items until the operation ends or the caller leaves. Raises what keeps it from beginning."""
        raw = target.reader.read(exchange.query, with_headers(exchange, found))
        return await self._run(exchange, target, raw, "end")

    async def act(self, exchange: Exchange, target: Target, sent: Sent) -> web.StreamResponse:
        """Answer with the progress of an action and its result. Raises what keeps it from beginning."""
        try:
            return await self._run(exchange, target, sent.raw, "result")
        except Invalid as error:
            check_json(sent.body, error)
            raise

    async def _run(self, exchange: Exchange, target: Target, raw: bytes, end: str) -> web.StreamResponse:
        stream = sse.EventStream(exchange.request, exchange.common)
        run = _Run(stream, exchange.request_id, end)
        call = Call(
            target.name, raw, exchange.principal, run.answer,
            request_id=exchange.request_id, progress=run.progress, item=run.item,
        )  # fmt: skip
        cancel = self._kernel.dispatcher.start(call)
        if run.refused is not None:
            raise run.refused
        self._open.add(stream)
        self._kernel.clients.came()
        try:
            await stream.open(b":\n\n", alive=lambda: self._admission.holds(exchange.principal))
            run.begin()
            await stream.closed()
        finally:
            self._open.discard(stream)
            self._kernel.clients.left()
            if cancel is not None:
                cancel()
            response = await stream.end()
        return response


class _Run:
    """One run of an operation: what it says until the headers are out, and after. `end` names the last event."""

    def __init__(self, stream: sse.EventStream, request_id: str, end: str) -> None:
        self._stream = stream
        self._request_id = request_id
        self._end = end
        self._reported = 0.0
        self._begun = False
        self._early: list[bytes] = []
        self._ended = False
        self._drained: asyncio.Future[None] | None = None
        self.refused: Error | None = None

    def begin(self) -> None:
        """Say what was said before the headers were out, and go on."""
        self._begun = True
        self._stream.on_drain(self._drain)
        for block in self._early:
            self._stream.write(block)
        self._drain()
        if self._ended:
            self._stream.close()

    def item(self, item: bytes) -> asyncio.Future[None] | None:
        """Send an item; the next one waits for what is returned."""
        block = sse.block("item", item)
        if not self._begun:
            self._early.append(block)
        elif self._stream.write(block):
            return None
        self._drained = asyncio.get_running_loop().create_future()
        return self._drained

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Report, at most ten times a second and at the end; what a slow reader would only get late is left out."""
        now = time.monotonic()
        if now - self._reported < _PROGRESS_INTERVAL and done != total:
            return
        self._reported = now
        block = sse.block("progress", _encode({"done": done, "total": total, "message": message}))
        if not self._begun:
            self._early.append(block)
        elif self._stream.keeps_up:
            self._stream.write(block)

    def answer(self, body: bytes | None, error: Error | None) -> None:
        """Say how it ended."""
        self._ended = True
        if error is None:
            block = sse.block(self._end, body or b"null")
        else:
            if not self._begun:
                self.refused = error
            block = sse.block("error", _encode(problems.body(error, self._request_id, error.code.http)))
        if not self._begun:
            self._early.append(block)
            return
        self._stream.write(block)
        self._stream.close()

    def _drain(self) -> None:
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
