"""The asyncio client of the daemon: any number of calls at once on one connection.

The words are those of `client`; a client belongs to the event loop it was connected in.
"""
# pyright: reportPrivateUsage=false
# a client and its subscriptions are one unit: what they tell each other is nobody else's to call

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from . import handshake, messages
from .channel import not_running
from .errors import CallTimeout, ConnectionLost
from .framing import FrameError, FrameParser

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Sequence
    from types import TracebackType
    from typing import Self

    from .runtime import Runtime

    Handler = Callable[[dict[str, Any]], object]

EVENT_QUEUE_LIMIT = 10_000
"""Events kept for a slow consumer; past it the subscription is dropped at the daemon and resumed by cursor later."""


class Client(asyncio.Protocol):
    """A connection to the daemon; make one with `Client.connect`, use it in `async with` or await `close`."""

    def __init__(self) -> None:
        self.hello: dict[str, Any] = {}
        """The daemon's answer to `initialize`: protocol, version, incarnation, pid, data_dir, http, scopes."""
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser(messages.MAX_BODY)
        self._transport: asyncio.WriteTransport | None = None
        self._calls: dict[int, _Call] = {}
        self._handlers: dict[str, list[Handler]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._last_call = 0
        self._outgoing: list[bytes] = []
        self._writable: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(
        cls,
        target: str | os.PathLike[str] | Runtime,
        timeout: float = 10.0,  # noqa: ASYNC109 (the same word as in the synchronous client)
        *,
        name: str = "coder_ipc",
        workspace: str | None = None,
    ) -> Self:
        """Connect to the daemon of a data directory, or to the one that a `Runtime` names.

        `timeout` in seconds covers connecting and `initialize`. Raises as `client.Client.connect` does.
        """
        found = handshake.locate(target)
        client = cls()
        try:
            async with asyncio.timeout(timeout):
                await _open(client, found.socket)
                hello = await client.call("initialize", handshake.params(name, found.token, workspace))
            client.hello = handshake.check(hello, found)
        except TimeoutError:
            await client.close()
            raise CallTimeout(f"the daemon at {found.socket} does not answer in {timeout:g} s") from None
        except BaseException:
            await client.close()
            raise
        return client

    async def call(
        self,
        method: str,
        params: object = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the same word as in the synchronous client)
        on_progress: Handler | None = None,
    ) -> Any:
        """Call an operation and return its answer.

        `timeout` in seconds, None for the daemon's own deadline. Raises `RemoteError`, `ConnectionLost` or
        `CallTimeout`. Cancelling the awaiting task, and the time limit, cancel the call in the daemon too.
        """
        call = self._start(method, params, on_progress)
        try:
            if timeout is None:
                await self._drained()
                return messages.result_of(await call.answer)
            async with asyncio.timeout(timeout):
                await self._drained()
                return messages.result_of(await call.answer)
        except TimeoutError:
            raise CallTimeout(f"{method} gave no answer in {timeout:g} s") from None
        finally:
            self._finish(call)

    async def items(self, method: str, params: object = None) -> AsyncGenerator[Any]:
        """Call a stream operation and yield its items as they come; closing the generator cancels the stream.

        The call starts when the first item is asked for. Items are kept in memory until they are taken.
        """
        call = self._start(method, params, None)
        try:
            while call.items or not call.answer.done():
                if call.items:
                    yield call.items.popleft()
                else:
                    call.arrived.clear()
                    await call.arrived.wait()
            messages.result_of(call.answer.result())
        finally:
            self._finish(call)

    async def events(
        self, cursor: str | None = None, types: Sequence[str] = (), subjects: Sequence[str] = ()
    ) -> Subscription:
        """Subscribe to events; iterate over the answer for the params of `events.event` and `events.reset`, in order.

        A reset is the one that has `reason`. Without `cursor` the subscription starts at the head.
        """
        subscription = Subscription(self, types, subjects)
        await self._subscribe(subscription, cursor)
        return subscription

    def on(self, method: str, handler: Handler) -> Callable[[], None]:
        """Call `handler` with the params of each notification of that name; return what ends it."""
        handlers = self._handlers.setdefault(method, [])
        handlers.append(handler)

        def end() -> None:
            with suppress(ValueError):
                handlers.remove(handler)

        return end

    def notify(self, method: str, params: object = None) -> None:
        """Send a notification; nobody answers it."""
        self._send(messages.request(None, method, params))

    async def close(self) -> None:
        """Close the connection and wait until it is; the daemon cancels the calls in progress. May be called twice."""
        self._flush()
        self._lose("this client was closed")
        if self._transport is not None:
            self._transport.close()
            await asyncio.shield(self._ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (called by the event loop)."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Deal with received bytes (called by the event loop)."""
        fault: FrameError | None = None
        try:
            bodies = tuple(self._parser.feed(data))
        except FrameError as found:
            bodies, fault = found.bodies, found
        try:
            for body in bodies:
                for message in messages.parse(body):
                    self._dispatch(message)
        except ValueError as found:
            self._abort(str(found))
        if fault is not None:
            self._abort(str(fault))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what still waits (called by the event loop)."""
        self._lose(str(exc) if exc is not None else "the daemon closed it")
        self.resume_writing()
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Hold further calls back: the daemon reads more slowly than they are made (called by the event loop)."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let calls go on (called by the event loop)."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    # the inside

    def _start(self, method: str, params: object, on_progress: Handler | None) -> _Call:
        self._last_call += 1
        call = _Call(self._last_call, self._loop.create_future(), on_progress)
        self._send(messages.request(call.id, method, params))
        self._calls[call.id] = call
        return call

    def _finish(self, call: _Call) -> None:
        """Forget a call, cancelling it when it has no answer yet."""
        self._calls.pop(call.id, None)
        if call.answer.done() and not call.answer.cancelled():
            call.answer.exception()  # a stream left early never looks at it, which asyncio would report as an oversight
        elif self._lost is None:
            self._send(messages.cancel(call.id))

    async def _subscribe(self, subscription: Subscription, cursor: str | None) -> None:
        def register(answer: dict[str, Any]) -> None:
            # at once, not when the awaiting task runs again: the first events may be in the same bytes as the answer
            if "error" not in answer:
                subscription._begin(answer["result"])
                self._subscriptions[subscription.id] = subscription

        params = messages.subscribe_params(cursor, subscription.types, subscription.subjects)
        call = self._start("events.subscribe", params, None)
        call.on_answer = register
        try:
            messages.result_of(await call.answer)
        finally:
            self._finish(call)

    def _unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription at the daemon without waiting for its answer."""
        if self._subscriptions.pop(subscription.id, None) is not None and self._lost is None:
            self._last_call += 1
            self._send(messages.request(self._last_call, "events.unsubscribe", {"subscription": subscription.id}))

    async def _drained(self) -> None:
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def _send(self, frame: bytes) -> None:
        """Send a frame together with all others of this turn of the event loop: one system call for many calls."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None and self._lost is None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to whom it is for; what nobody waits for, and what a later protocol adds, is dropped."""
        method = message.get("method")
        if method is None:
            self._answer(message)
            return
        params = messages.params_of(message)
        if method in ("events.event", "events.reset"):
            if subscription := self._subscriptions.get(str(params.get("subscription"))):
                subscription._put(params)
        elif call := self._calls.get(messages.call_of(params)):
            if method == "$/item":
                call.items.append(params.get("item"))
                call.arrived.set()
            elif method == "$/progress" and call.on_progress is not None:
                self._run(call.on_progress, params)
        for handler in tuple(self._handlers.get(method, ())):
            self._run(handler, params)

    def _answer(self, message: dict[str, Any]) -> None:
        if call := self._calls.get(messages.call_of(message)):
            call.settle(message)
        elif message.get("id") is None:
            # an error without id is about bytes the daemon could not read as a call: any of ours may be meant
            for waiting in self._calls.values():
                waiting.settle(message)

    def _run(self, handler: Handler, params: dict[str, Any]) -> None:
        try:
            handler(params)
        except Exception as fault:  # noqa: BLE001 (a handler's fault is its own: the other messages must still arrive)
            self._loop.call_exception_handler({"message": f"handler {handler!r} failed", "exception": fault})

    def _abort(self, reason: str) -> None:
        self._lose(reason)
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, reason: str) -> None:
        """Fail all that waits for the daemon; the first reason is the one that counts."""
        if self._lost is not None:
            return
        self._lost = reason
        for call in self._calls.values():
            call.fail(ConnectionLost(reason))
        for subscription in self._subscriptions.values():
            subscription._arrived.set()


class Subscription:
    """Events as they come: an endless asynchronous iterator that holds its place.

    `cursor` is where a later subscription goes on without gap or repetition; `head` and `min` are the newest and the
    oldest place the daemon could serve when this one began. A consumer that falls `EVENT_QUEUE_LIMIT` events behind is
    served from its cursor once it has caught up: nothing is lost, and memory stays bounded.
    """

    def __init__(self, client: Client, types: Sequence[str], subjects: Sequence[str]) -> None:
        self.id = ""
        self.cursor = self.head = self.min = ""
        self.types = tuple(types)
        self.subjects = tuple(subjects)
        self._client = client
        self._queue: deque[dict[str, Any]] = deque()
        self._arrived = asyncio.Event()
        self._overflowed = False

    async def close(self) -> None:
        """Unsubscribe; what was not taken is dropped."""
        self._client._unsubscribe(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._queue:
            if self._client._lost is not None:
                raise ConnectionLost(self._client._lost)
            if self._overflowed:
                await self._client._subscribe(self, self.cursor)
                continue
            self._arrived.clear()
            await self._arrived.wait()
        params = self._queue.popleft()
        self.cursor = messages.cursor_after(params, self.cursor)
        return params

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _begin(self, answer: dict[str, Any]) -> None:
        self.id = str(answer["subscription"])
        self.cursor, self.head, self.min = answer["cursor"], answer["head"], answer["min"]
        self._overflowed = False

    def _put(self, params: dict[str, Any]) -> None:
        self._queue.append(params)
        self._arrived.set()
        if len(self._queue) >= EVENT_QUEUE_LIMIT:
            self._overflowed = True
            self._client._unsubscribe(self)


class _Call:
    """A call in progress: its answer once it has come, and the items not yet taken."""

    __slots__ = ("answer", "arrived", "id", "items", "on_answer", "on_progress")

    def __init__(self, number: int, answer: asyncio.Future[dict[str, Any]], on_progress: Handler | None) -> None:
        self.id = number
        self.answer = answer
        self.on_progress = on_progress
        self.on_answer: Handler | None = None
        self.items: deque[Any] = deque()
        self.arrived = asyncio.Event()

    def settle(self, message: dict[str, Any]) -> None:
        if not self.answer.done():
            if self.on_answer is not None:
                self.on_answer(message)
            self.answer.set_result(message)
        self.arrived.set()

    def fail(self, fault: ConnectionLost) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)
        self.arrived.set()


if sys.platform == "win32":  # pragma: no cover (not run on the machines of the test suite: unverified)
    from .errors import IpcError

    async def _open(client: Client, address: str) -> None:
        """Connect to a named pipe; needs the proactor loop, which is the default on Windows."""
        loop = asyncio.get_running_loop()
        connect: Any = getattr(loop, "create_pipe_connection", None)
        if connect is None:
            raise IpcError("named pipes need asyncio's proactor event loop", hint="use the default loop of Windows")
        try:
            # asyncio itself waits while every instance of the pipe is busy
            await connect(lambda: client, address)
        except OSError as fault:
            raise not_running(address, fault) from fault

else:

    async def _open(client: Client, address: str) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: client, address)
        except OSError as fault:
            raise not_running(address, fault) from fault
