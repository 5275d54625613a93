"""Committed events pushed over HTTP: `/events` as server-sent events, `/ws` as WebSocket frames.

An event is encoded once for all who hear it. Nothing is queued here: a subscriber that does not keep up is paused and
goes on from its cursor, so a thousand slow ones cost no memory.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from coder_local import __version__
from coder_local._admission.admission import Admission
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import Principal
from coder_local._registry.signature import Parameter, Signature
from coder_local._store.eventlog import Published
from coder_local._store.feed import Reset, Subscription
from coder_local.api import Refused, Safety

from . import sse
from .exchange import Exchange
from .query import QueryReader
from .websocket import REVOKED, Pipe, Sockets, accept, text_frame

FRAMES = 256
"""Encoded events that are kept for those who are a little behind."""
CLIENT_FRAME_LIMIT = 4096
"""Bytes that one frame from a listener may have: it has nothing to say."""

_encode = msgspec.json.Encoder().encode
_TEXTS = list[str]
_ASKED = Signature(
    [Parameter("cursor", str | None, None), Parameter("types", _TEXTS, []), Parameter("subjects", _TEXTS, [])],
    None,
    envelope=False,
    name="events.subscribe",
)
_READER = QueryReader(_ASKED)


class Frames:
    """Events as one kind of listener gets them, encoded once."""

    def __init__(self, make: Callable[[Published], bytes]) -> None:
        self._make = make
        self._made: OrderedDict[int, bytes] = OrderedDict()

    def of(self, event: Published) -> bytes:
        """Return an event's frame."""
        found = self._made.get(event.seq)
        if found is None:
            found = self._made[event.seq] = self._make(event)
            if len(self._made) > FRAMES:
                self._made.popitem(last=False)
        return found


class Events:
    """Serves `/events` and `/ws`."""

    def __init__(self, kernel: Kernel, admission: Admission, heartbeat: float = sse.HEARTBEAT) -> None:
        self._kernel = kernel
        self._admission = admission
        self._heartbeat = heartbeat
        self._blocks = Frames(lambda event: sse.block("event", event.body, f"{kernel.feed.epoch}:{event.seq}"))
        self._frames = Frames(lambda event: text_frame(b'{"event":%b}' % event.body))
        self._streams: set[sse.EventStream] = set()
        self._sockets = Sockets()

    def close(self) -> None:
        """End every stream and socket: the server stops."""
        for stream in list(self._streams):
            stream.close()
        self._sockets.close()

    async def stream(self, exchange: Exchange) -> web.StreamResponse:
        """Answer `/events`."""
        asked = self._asked(exchange, exchange.header("Last-Event-ID"))
        stream = sse.EventStream(exchange.request, exchange.common)

        def deliver(events: Sequence[Published]) -> bool:
            return stream.write(b"".join([self._blocks.of(event) for event in events]))

        def on_reset(reset: Reset) -> None:
            stream.write(sse.block("reset", _encode({"reason": reset.reason, "head": reset.head}), reset.head))

        subscription, reset = self._subscribe(asked, exchange.principal, deliver, on_reset)
        self._kernel.clients.came()
        self._streams.add(stream)
        try:
            # An id without data moves a reader's Last-Event-ID, so that one that breaks off early misses no event;
            # one that has not been told of its reset yet must come back with the old one.
            id_line = b"" if reset is not None else b"id: %b\n" % self._cursor(subscription).encode()
            first = b"retry: 1000\n%b\n" % id_line
            await stream.open(first, alive=lambda: self._admission.holds(exchange.principal), heartbeat=self._heartbeat)
            if reset is not None:
                on_reset(reset)
            stream.on_drain(subscription.resume)
            subscription.resume()
            await stream.closed()
        finally:
            subscription.close()
            self._streams.discard(stream)
            self._kernel.clients.left()
            response = await stream.end()
        return response

    async def socket(self, exchange: Exchange) -> web.StreamResponse:
        """Answer `/ws`."""
        asked = self._asked(exchange, None)
        pipe = Pipe(exchange.request)

        def deliver(events: Sequence[Published]) -> bool:
            return pipe.write(b"".join([self._frames.of(event) for event in events]))

        def on_reset(reset: Reset) -> None:
            pipe.write(text_frame(_encode({"reset": {"reason": reset.reason, "head": reset.head}})))

        self._check(asked)
        socket = await accept(exchange, message_limit=CLIENT_FRAME_LIMIT)
        subscription, reset = self._subscribe(asked, exchange.principal, deliver, on_reset)
        self._kernel.clients.came()
        try:
            pipe.write(text_frame(_encode({"hello": self._hello(subscription)})))
            if reset is not None:
                on_reset(reset)
            pipe.on_drain(subscription.resume)
            subscription.resume()
            with self._sockets.holding(socket):
                await self._until_closed(socket, exchange.principal)
        finally:
            self._kernel.clients.left()
            subscription.close()
            pipe.on_drain(None)
        return socket

    def _check(self, asked: Any) -> None:
        """Raise `Invalid` for what is no cursor, while there can be an answer of HTTP."""
        with contextlib.suppress(Reset):
            self._kernel.feed.place(asked.cursor)

    async def _until_closed(self, socket: web.WebSocketResponse, principal: Principal) -> None:
        while True:
            try:
                message = await socket.receive(None if principal.token is None else self._heartbeat)
            except TimeoutError:
                if not self._admission.holds(principal):
                    await socket.close(code=REVOKED, message=b"the token was revoked")
                    return
                continue
            if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
                return

    def _asked(self, exchange: Exchange, last_event_id: str | None) -> Any:
        if Safety.READ not in exchange.principal.scopes:
            raise Refused("this token may not read, and events are read", hint="make a token with the scope read")
        values = _READER.values(exchange.query, {})
        if last_event_id:
            values["cursor"] = last_event_id  # a reader that comes back knows better than its first address
        return _ASKED.convert(values, strict=False)

    def _subscribe(
        self,
        asked: Any,
        principal: Principal,
        deliver: Callable[[Sequence[Published]], bool],
        on_reset: Callable[[Reset], None],
    ) -> tuple[Subscription, Reset | None]:
        """Return a subscription and, if its cursor cannot be served and it begins at the head, why."""
        if principal.domains is not None:
            deliver = self._allowed(principal, deliver)
        feed = self._kernel.feed
        try:
            return feed.subscribe(asked.cursor, asked.types, asked.subjects, deliver, on_reset), None
        except Reset as reset:
            return feed.subscribe(reset.head, asked.types, asked.subjects, deliver, on_reset), reset

    def _allowed(
        self, principal: Principal, deliver: Callable[[Sequence[Published]], bool]
    ) -> Callable[[Sequence[Published]], bool]:
        def filtered(events: Sequence[Published]) -> bool:
            allowed = [event for event in events if self._admission.may_hear(principal, event.type)]
            return deliver(allowed) if allowed else True

        return filtered

    def _cursor(self, subscription: Subscription) -> str:
        return f"{self._kernel.feed.epoch}:{subscription.cursor}"

    def _hello(self, subscription: Subscription) -> dict[str, Any]:
        bounds = self._kernel.store.bounds()
        return {
            "protocol": 1,
            "version": __version__,
            "cursor": self._cursor(subscription),
            "head": f"{bounds.epoch}:{bounds.head}",
            "min": f"{bounds.epoch}:{bounds.low}",
        }
