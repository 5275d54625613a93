"""A synchronous client of the daemon, for commands and scripts.

One client belongs to one thread. Answers to other calls, events and items that arrive while a call waits are kept for
whoever asked for them.
"""
# pyright: reportPrivateUsage=false
# a client and its subscriptions are one unit: what they tell each other is nobody else's to call

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from . import handshake, messages
from .channel import Channel, open_channel
from .errors import CallTimeout, ConnectionLost
from .framing import FrameError, FrameParser

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Sequence
    from types import TracebackType
    from typing import Self

    from .runtime import Runtime

    Progress = Callable[[dict[str, Any]], object]

_CANCEL_LIMIT = 1.0  # seconds a daemon that reads nothing may delay a caller who gives up


class Client:
    """A connection to the daemon; make one with `Client.connect` and close it, or use it in a `with` statement."""

    def __init__(self, channel: Channel) -> None:
        self.hello: dict[str, Any] = {}
        """The daemon's answer to `initialize`: protocol, version, incarnation, pid, data_dir, http, state, scopes."""
        self.on_progress: Progress | None = None
        """Gets what is reported of calls that were given no `on_progress` of their own."""
        self._channel = channel
        self._parser = FrameParser(messages.MAX_BODY)
        self._inbox: deque[dict[str, Any]] = deque()
        self._calls: dict[int, _Call] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._last_call = 0
        self._lost: str | None = None
        self._sending = False

    @classmethod
    def connect(
        cls,
        target: str | os.PathLike[str] | Runtime,
        timeout: float = 10.0,
        *,
        name: str = "coder_ipc",
        workspace: str | None = None,
    ) -> Self:
        """Connect to the daemon of a data directory, or to the one that a `Runtime` names.

        `timeout` in seconds covers connecting and `initialize`. Raises `NotRunning` when no daemon answers for that
        data directory, `CallTimeout` when one is there and does not answer, `RemoteError` when it refuses
        (`refused`: wrong token; `unsupported`: no common protocol).
        """
        found = handshake.locate(target)
        deadline = time.monotonic() + timeout
        try:
            client = cls(open_channel(found.socket, timeout))
        except TimeoutError:
            raise CallTimeout(f"the daemon at {found.socket} takes no connection in {timeout:g} s") from None
        try:
            params = handshake.params(name, found.token, workspace)
            hello = client.call("initialize", params, timeout=max(deadline - time.monotonic(), 0.001))
            client.hello = handshake.check(hello, found)
        except BaseException:
            client.close()
            raise
        return client

    def call(
        self, method: str, params: object = None, timeout: float | None = None, on_progress: Progress | None = None
    ) -> Any:
        """Call an operation and return its answer.

        `timeout` in seconds, None for the daemon's own deadline. `on_progress` gets the params of each `$/progress` of
        this call. Raises `RemoteError`, `ConnectionLost` or `CallTimeout`. When the wait ends early, by the time
        limit, by Ctrl-C or by an exception of `on_progress`, the daemon is asked to cancel.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        call = self._start(method, params, on_progress, deadline)
        try:
            while call.answer is None:
                self._pump(deadline)
        except TimeoutError:
            raise CallTimeout(f"{method} gave no answer in {timeout:g} s") from None
        finally:
            self._finish(call)
        return messages.result_of(call.answer)

    def items(self, method: str, params: object = None) -> Generator[Any]:
        """Call a stream operation and yield its items as they come; leaving early cancels the stream.

        The call starts when the first item is asked for.
        """
        call = self._start(method, params, None, None)
        try:
            while call.items or call.answer is None:
                if call.items:
                    yield call.items.popleft()
                else:
                    self._pump(None)
        finally:
            self._finish(call)
        messages.result_of(call.answer)

    def events(
        self, cursor: str | None = None, types: Sequence[str] = (), subjects: Sequence[str] = ()
    ) -> Subscription:
        """Subscribe to events; iterate over the answer for the params of `events.event` and `events.reset`, in order.

        A reset is the one that has `reason`. Without `cursor` the subscription starts at the head as it is when this
        method returns, so nothing that is called afterwards is missed.
        """
        answer = self.call("events.subscribe", messages.subscribe_params(cursor, types, subjects))
        subscription = Subscription(self, answer)
        self._subscriptions[subscription.id] = subscription
        return subscription

    def notify(self, method: str, params: object = None) -> None:
        """Send a notification; nobody answers it."""
        self._send(messages.request(None, method, params), None)

    def close(self) -> None:
        """Close the connection; the daemon cancels the calls in progress. May be called twice."""
        if self._lost is None:
            self._lost = "this client was closed"
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, method: str, params: object, on_progress: Progress | None, deadline: float | None) -> _Call:
        self._last_call += 1
        call = _Call(self._last_call, on_progress)
        frame = messages.request(call.id, method, params)
        self._calls[call.id] = call
        try:
            self._send(frame, deadline)
        except BaseException:
            del self._calls[call.id]
            raise
        return call

    def _finish(self, call: _Call) -> None:
        """Forget a call, cancelling it when it has no answer yet."""
        self._calls.pop(call.id, None)
        if call.answer is None:
            with suppress(ConnectionLost):  # the caller is told why it gave up, not that nobody heard of it
                self._send(messages.cancel(call.id), time.monotonic() + _CANCEL_LIMIT)

    def _send(self, frame: bytes, deadline: float | None) -> None:
        self._check_open()
        if self._sending:
            # Ctrl-C came in the middle of a frame: whatever followed would be read as the rest of it. The daemon
            # cancels the calls of a connection that ends, so the caller's wish is met this way too.
            self._lose("a frame was interrupted halfway")
        self._sending = True
        try:
            self._channel.send(frame, deadline)
        except TimeoutError:
            self._lose("the daemon reads nothing")
        except (BrokenPipeError, ConnectionResetError):
            pass  # a daemon that refuses a frame halfway has said why: reading finds that, or the end
        except OSError as fault:
            self._lose(fault.strerror or str(fault))
        self._sending = False

    def _pump(self, deadline: float | None) -> None:
        """Deal with one message, waiting for it; raises `TimeoutError` at the deadline."""
        while not self._inbox:
            self._check_open()
            try:
                data = self._channel.receive(deadline)
            except TimeoutError:
                raise
            except OSError as fault:
                self._lose(fault.strerror or str(fault))
            if not data:
                self._lose("the daemon closed it")
            self._take(data)
        self._dispatch(self._inbox.popleft())

    def _take(self, data: bytes) -> None:
        """Put the messages of received bytes into the inbox."""
        fault: FrameError | None = None
        try:
            bodies = tuple(self._parser.feed(data))
        except FrameError as found:
            bodies, fault = found.bodies, found
        for body in bodies:
            try:
                self._inbox.extend(messages.parse(body))
            except ValueError as found:
                self._break(str(found))
        if fault is not None:
            self._break(str(fault))

    def _dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to whom it is for; what nobody waits for, and what a later protocol adds, is dropped."""
        method = message.get("method")
        if method is None:
            self._answer(message)
            return
        params = messages.params_of(message)
        if method in ("events.event", "events.reset"):
            if subscription := self._subscriptions.get(str(params.get("subscription"))):
                subscription.queue.append(params)
        elif call := self._calls.get(messages.call_of(params)):
            if method == "$/item":
                call.items.append(params.get("item"))
            elif method == "$/progress" and (heard := call.on_progress or self.on_progress) is not None:
                heard(params)

    def _answer(self, message: dict[str, Any]) -> None:
        if call := self._calls.get(messages.call_of(message)):
            call.answer = message
        elif message.get("id") is None:
            # an error without id is about bytes the daemon could not read as a call: any of ours may be meant
            for call in self._calls.values():
                call.answer = call.answer or message

    def _receive(self, subscription: Subscription, timeout: float | None) -> dict[str, Any] | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not subscription.queue:
            try:
                self._pump(deadline)
            except TimeoutError:
                return None
        return subscription.queue.popleft()

    def _release(self, subscription: Subscription) -> None:
        if self._subscriptions.pop(subscription.id, None) is not None and self._lost is None:
            self.call("events.unsubscribe", {"subscription": subscription.id})

    def _check_open(self) -> None:
        if self._lost is not None:
            raise ConnectionLost(self._lost)

    def _break(self, reason: str) -> None:
        """Close the connection; what is in the inbox can still be taken."""
        self._lost = self._lost or reason
        self._channel.close()

    def _lose(self, reason: str) -> NoReturn:
        self._break(reason)
        raise ConnectionLost(reason)


class Subscription:
    """Events as they come: an endless iterator that holds its place.

    `cursor` is where a later subscription goes on without gap or repetition; `head` and `min` are the newest and the
    oldest place the daemon could serve when this one began.
    """

    def __init__(self, client: Client, answer: dict[str, Any]) -> None:
        self.id = str(answer["subscription"])
        self.cursor: str = answer["cursor"]
        self.head: str = answer["head"]
        self.min: str = answer["min"]
        self.queue: deque[dict[str, Any]] = deque()
        self._client = client

    def wait(self, timeout: float | None) -> dict[str, Any] | None:
        """Return the next params, or None when none came in `timeout` seconds."""
        params = self._client._receive(self, timeout)
        if params is not None:
            self.cursor = messages.cursor_after(params, self.cursor)
        return params

    def close(self) -> None:
        """Unsubscribe; what was not taken is dropped."""
        self._client._release(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        params = self.wait(None)
        assert params is not None, "a wait without limit ends with an event or an error"  # noqa: S101
        return params

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after Ctrl-C a question to the daemon could wait for ever; closing the client ends its subscriptions too
        if fault is None or isinstance(fault, Exception):
            with suppress(ConnectionLost):
                self.close()


class _Call:
    """A call in progress: its answer once it has come, and the items not yet taken."""

    __slots__ = ("answer", "id", "items", "on_progress")

    def __init__(self, number: int, on_progress: Progress | None) -> None:
        self.id = number
        self.on_progress = on_progress
        self.answer: dict[str, Any] | None = None
        self.items: deque[Any] = deque()
