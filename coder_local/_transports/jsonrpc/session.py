"""One JSON-RPC connection: messages in, messages out, whatever carries them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from coder_local import __version__
from coder_local._registry.dispatch import Call, Cancel
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import Principal
from coder_local._registry.signature import Parameter, Signature, invalid, text_faults
from coder_local._store.eventlog import Published
from coder_local._store.feed import Reset, Subscription
from coder_local.api import Conflict, Error, Invalid, RateLimited, Unsupported
from coder_local.api.errors import Unauthenticated

from .batch import Batch, Room, left_out, no_room, wire_of

_log = logging.getLogger("coder_local.daemon")
PROTOCOL = 1
IN_FLIGHT = 2048
"""Calls of one connection that may wait for the writer, a thread or the outside world at the same time."""
SUBSCRIPTIONS = 100
"""Subscriptions that one connection may have."""
_PROGRESS_INTERVAL = 0.1
_NAME = 100
"""Characters of a client's name that an error repeats."""
_SMALL = 16 * 1024
"""Bytes of an answer up to which nobody asks whether there is room: `IN_FLIGHT` of them are 32 MiB."""

_encode = msgspec.json.Encoder().encode
_NO_PARAMS = msgspec.Raw(b"{}")


class _Request(msgspec.Struct):
    method: str
    jsonrpc: str = ""
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = _NO_PARAMS


class _Client(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Range(msgspec.Struct, frozen=True):
    min: int = 1
    max: int = 1


_decode = msgspec.json.Decoder(_Request).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_TEXTS = list[str]
_INITIALIZE = Signature(
    [
        Parameter("client", _Client | None, None),
        Parameter("protocol", _Range, _Range()),
        Parameter("workspace", str, ""),
        Parameter("token", str, ""),
    ],
    dict[str, Any],
    envelope=False,
    name="initialize",
)
_SUBSCRIBE = Signature(
    [
        Parameter("cursor", str | None, None),
        Parameter("types", _TEXTS, []),
        Parameter("subjects", _TEXTS, []),
    ],
    dict[str, Any],
    envelope=False,
    name="events.subscribe",
)
_UNSUBSCRIBE = Signature([Parameter("subscription", str)], None, envelope=False, name="events.unsubscribe")


class Session:
    """One connection. `send` takes a whole message; `writable` tells whether the peer keeps up.

    `unsent` returns how many bytes wait for it. Without a principal the first call must be `initialize` with a token
    that `authenticate` accepts.
    """

    def __init__(
        self,
        kernel: Kernel,
        principal: Principal | None,
        send: Callable[[bytes], None],
        writable: Callable[[], bool],
        *,
        authenticate: Callable[[str], Principal] | None = None,
        unsent: Callable[[], int] = lambda: 0,
    ) -> None:
        self._kernel = kernel
        self.room = Room(unsent)
        self._principal = principal
        self._send = send
        self._writable = writable
        self._authenticate = authenticate
        self._calls: dict[bytes, Cancel | None] = {}
        self._silent = 0
        """Calls without an id, which nobody hears of, that have not ended."""
        self.on_room: Callable[[], None] | None = None
        """Called when `full` has become false again."""
        self._subscriptions: dict[str, Subscription] = {}
        self._subscribed = 0
        self._drain: asyncio.Future[None] | None = None
        self._resets: dict[str, tuple[_Listener, Reset]] = {}
        self._methods: dict[str, Callable[[bytes], Any]] = {
            "initialize": self._initialize,
            "events.subscribe": self._subscribe,
            "events.unsubscribe": self._unsubscribe,
        }

    # -- messages in --------------------------------------------------------------------------------------------------

    def receive(self, body: bytes) -> None:
        """Take one message or batch. Whatever it is, the connection goes on."""
        try:
            if not body.isascii():
                body.decode()  # msgspec looks only at the parts that it reads
            if body[:1] != b"{" and body.lstrip()[:1] == b"[":
                self._batch(body)
            else:
                self._one(body, self._say, self._begin)
        except UnicodeDecodeError as error:
            self._send(_failure(b"null", -32700, f"the message is not UTF-8: {error.reason} at byte {error.start}"))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the client the connection
            self._send(_error(b"null", self._kernel.dispatcher.broken("a message", "", error)))

    @property
    def full(self) -> bool:
        """Whether so many calls without an id wait that no more should be read until `on_room`."""
        return self._silent >= IN_FLIGHT

    def _batch(self, body: bytes) -> None:
        try:
            parts = _decode_batch(body)
        except (msgspec.DecodeError, RecursionError) as error:
            self._send(_unreadable(body, error))
            return
        if not parts:
            self._send(_failure(b"null", -32600, "an empty batch asks nothing"))
            return
        if len(parts) > IN_FLIGHT:
            self._send(_failure(b"null", -32600, f"a batch has at most {IN_FLIGHT} calls"))
            return
        batch = Batch(self._send, self.room)
        for part in parts:
            if batch.full:
                self._leave_out(bytes(part), batch.expect())
                continue
            # no event may come before the answer that names its subscription, and a batch is answered at its end
            self._one(bytes(part), batch.expect(), lambda name: batch.then.append(lambda: self._begin(name)))
        batch.begin()

    def _leave_out(self, body: bytes, send: Callable[[bytes], None]) -> None:
        """Answer a call of a batch whose answers are too large already; nothing of it is done."""
        try:
            id_ = _decode(body).id
        except (msgspec.DecodeError, RecursionError) as error:
            send(_unreadable(body, error))
            return
        send(b"" if id_ is msgspec.UNSET else _error(bytes(id_), left_out("nothing was done")))

    def _one(self, body: bytes, send: Callable[[bytes], None], begin: Callable[[str], None]) -> None:
        try:
            request = _decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            send(_unreadable(body, error))
            return
        id_ = b"" if request.id is msgspec.UNSET else bytes(request.id)
        if request.jsonrpc != "2.0" or id_[:1] in (b"{", b"["):
            send(_failure(b"null", -32600, 'a request has "jsonrpc": "2.0" and a text or number as id'))
            return
        if request.method == "$/cancelRequest":
            self._cancel(request.params)
            send(b"")
        elif request.method in self._methods:
            self._answer_own(request.method, bytes(request.params), id_, send, begin)
        else:
            self._call(request.method, bytes(request.params), id_, send)

    def _answer_own(
        self, method: str, raw: bytes, id_: bytes, send: Callable[[bytes], None], begin: Callable[[str], None]
    ) -> None:
        try:
            if self._principal is None and method != "initialize":
                raise _first_initialize()
            result = self._methods[method](raw)
        except Error as error:
            send(_error(id_, error) if id_ else b"")
        else:
            send(_result(id_, _encode(result)) if id_ else b"")
            if method == "events.subscribe":
                begin(result["subscription"])

    def _call(self, method: str, raw: bytes, id_: bytes, send: Callable[[bytes], None]) -> None:
        if self._principal is None:
            send(_error(id_, _first_initialize()) if id_ else b"")
            return
        if id_ and (id_ in self._calls or len(self._calls) >= IN_FLIGHT):
            send(_error(id_, self._refuse(id_)))
            return
        if not id_ and self._silent >= 2 * IN_FLIGHT:  # whoever feeds us does not heed `full`
            _log.warning("a call was dropped, %d of its connection wait already: %s", self._silent, method[:200])
            send(b"")
            return
        try:
            body = self._kernel.dispatcher.at_once(method, raw, self._principal)
        except Error as error:
            send(_error(id_, error) if id_ else b"")
            return
        if body is not None:
            send(_result(id_, body) if id_ else b"")
            return
        asked = _Asked(self, id_, send)
        call = Call(method, raw, self._principal, asked.answer)
        if id_:
            call.progress, call.item = asked.progress, asked.item
        cancel = self._kernel.dispatcher.start(call)
        if asked.answered:
            return
        if id_:
            self._calls[id_] = cancel
        else:
            self._silent += 1
            asked.counted = True

    def keeps_up(self) -> bool:
        """Tell whether the peer reads what it is sent."""
        return self._writable()

    def answered(self, id_: bytes) -> None:
        """Take a call that was answered off the list of those that wait."""
        self._calls.pop(id_, None)

    def ended(self) -> None:
        """Count a call without an id as ended."""
        self._silent -= 1
        if self._silent == IN_FLIGHT - 1 and self.on_room is not None:
            self.on_room()

    def _refuse(self, id_: bytes) -> Error:
        if id_ in self._calls:
            return Conflict(
                f"a call with the id {id_.decode()} has not been answered yet", hint="give each call its own id"
            )
        return RateLimited(
            f"{IN_FLIGHT} calls of this connection wait already; nothing was done",
            hint="wait for some answers first",
            data={"retry_after_ms": 50},
        )

    def _cancel(self, params: msgspec.Raw) -> None:
        try:
            id_ = msgspec.json.decode(params, type=dict[str, msgspec.Raw]).get("id")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # a notification has no answer to say it in
        cancel = self._calls.get(bytes(id_)) if id_ is not None else None
        if cancel is not None:
            cancel()

    # -- the connection's own methods ---------------------------------------------------------------------------------

    def _initialize(self, raw: bytes) -> dict[str, Any]:
        asked = _INITIALIZE.decode(raw)
        if not asked.protocol.min <= PROTOCOL <= asked.protocol.max:
            raise _other_protocol(asked.protocol, asked.client)
        if self._principal is None:
            if self._authenticate is None or not asked.token:
                raise _first_initialize()
            self._principal = self._authenticate(asked.token)
        if asked.workspace:
            self._principal = msgspec.structs.replace(self._principal, workspace=asked.workspace)
        about = self._kernel.host.about() if self._kernel.host is not None else {}
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            **about,
            "scopes": sorted(self._principal.scopes),
            "workspace": self._principal.workspace,
        }

    def _subscribe(self, raw: bytes) -> dict[str, Any]:
        asked = _SUBSCRIBE.decode(raw)
        if len(self._subscriptions) >= SUBSCRIPTIONS:
            raise RateLimited(f"a connection has at most {SUBSCRIPTIONS} subscriptions", data={"retry_after_ms": 1000})
        feed = self._kernel.feed
        self._subscribed += 1
        name = f"s{self._subscribed}"
        start = asked.cursor
        try:
            feed.place(start)
            reset = None
        except Reset as error:
            start, reset = error.head, error
        listener = _Listener(name, feed.epoch, self._send, self._writable, self._may_hear)
        subscription = feed.subscribe(start, asked.types, asked.subjects, listener.deliver, listener.reset)
        self._subscriptions[name] = subscription
        if reset is not None:
            self._resets[name] = listener, reset
        bounds = self._kernel.store.bounds()
        return {
            "subscription": name,
            "cursor": start or f"{feed.epoch}:{feed.head}",
            "head": f"{bounds.epoch}:{bounds.head}",
            "min": f"{bounds.epoch}:{bounds.low}",
        }

    def _may_hear(self, event_type: str) -> bool:
        return self._principal is not None and self._kernel.dispatcher.gate.may_hear(self._principal, event_type)

    def _begin(self, name: str) -> None:
        """Let events come, now that the answer that names the subscription has been given."""
        subscription, pending = self._subscriptions.get(name), self._resets.pop(name, None)
        if subscription is None:
            return  # the batch that asked for it has ended it too
        if pending is not None:
            listener, reset = pending
            listener.reset(reset)
        subscription.resume()

    def _unsubscribe(self, raw: bytes) -> None:
        name = _UNSUBSCRIBE.decode(raw).subscription
        subscription = self._subscriptions.pop(name, None)
        if subscription is None:
            raise Invalid(f"there is no subscription {name[:20]!r}", field="/subscription")
        subscription.close()

    # -- messages out -------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on with events and streams, after the peer has kept up again."""
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)
        for subscription in list(self._subscriptions.values()):
            subscription.resume()

    def close(self) -> None:
        """Let go of everything: the connection is lost. Commands that wait are dropped, those that run end."""
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        for cancel in list(self._calls.values()):
            if cancel is not None:
                cancel()

    def notify(self, message: bytes) -> asyncio.Future[None] | None:
        """Send a notification; the answer, if any, ends when the peer has kept up again, for a stream to wait for."""
        self._send(message)
        if self._writable():
            return None
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_future()
        return self._drain

    def _say(self, message: bytes) -> None:
        if message:  # a notification has no answer
            self._send(message)


class _Asked:
    """A call of a connection that is not answered yet: where its answer, its progress and its items go."""

    __slots__ = ("_id", "_reported", "_send", "_session", "answered", "counted")

    def __init__(self, session: Session, id_: bytes, send: Callable[[bytes], None]) -> None:
        self._session = session
        self._id = id_
        self._send = send
        self._reported = 0.0
        self.answered = False
        self.counted = False

    def answer(self, body: bytes | None, error: Error | None) -> None:
        """Send the answer; a notification has none."""
        self.answered = True
        id_ = self._id
        if not id_:
            self._send(b"")
            if self.counted:
                self._session.ended()
            return
        self._session.answered(id_)
        if body is not None and len(body) > _SMALL and not self._session.room.holds(len(body)):
            error = no_room()
        self._send(_result(id_, body or b"null") if error is None else _error(id_, error))

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Report, at most ten times a second and at the end, to a peer that keeps up."""
        now = time.monotonic()
        if (now - self._reported < _PROGRESS_INTERVAL and done != total) or not self._session.keeps_up():
            return
        self._reported = now
        params = {"id": msgspec.Raw(self._id), "done": done, "total": total, "message": message}
        self._session.notify(_encode({"jsonrpc": "2.0", "method": "$/progress", "params": params}))

    def item(self, item: bytes) -> asyncio.Future[None] | None:
        """Send one item of a stream."""
        return self._session.notify(
            b'{"jsonrpc":"2.0","method":"$/item","params":{"id":%b,"item":%b}}' % (self._id, item)
        )


class _Listener:
    """Puts the events of one subscription into messages."""

    def __init__(
        self,
        name: str,
        epoch: str,
        send: Callable[[bytes], None],
        writable: Callable[[], bool],
        may_hear: Callable[[str], bool],
    ) -> None:
        self._may_hear = may_hear
        self._head = (
            f'{{"jsonrpc":"2.0","method":"events.event","params":{{"subscription":"{name}","cursor":"{epoch}:'.encode()
        )
        self._name = name
        self._send = send
        self._writable = writable

    def deliver(self, events: Sequence[Published]) -> bool:
        """Send events, and tell whether more may come now."""
        head = self._head
        for event in events:
            if self._may_hear(event.type):
                self._send(b'%b%d","event":%b}}' % (head, event.seq, event.body))
        return self._writable()

    def reset(self, reset: Reset) -> None:
        """Say that the cursor could not be served."""
        params = {"subscription": self._name, "reason": reset.reason, "head": reset.head}
        self._send(_encode({"jsonrpc": "2.0", "method": "events.reset", "params": params}))


def _result(id_: bytes, body: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id_, body)


def _error(id_: bytes, error: Error) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_ or b"null", _encode(wire_of(error)))


def _failure(id_: bytes, code: int, message: str) -> bytes:
    wire = {"code": code, "message": message, "data": {"kind": "invalid", "message": message}}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_, _encode(wire))


def _unreadable(body: bytes, error: Exception) -> bytes:
    """Return the answer to what is no JSON, or JSON but no request."""
    if isinstance(error, RecursionError):
        return _failure(b"null", -32700, "the message is nested too deeply")
    if isinstance(error, msgspec.ValidationError):
        return _failure(b"null", -32600, f"this is no JSON-RPC request: {error}")
    return _half_surrogates(body) or _failure(b"null", -32700, f"the message is not JSON: {error}")


def _half_surrogates(body: bytes) -> bytes | None:
    r"""Return the answer to JSON that holds half a surrogate pair (`\ud800`), which msgspec does not read."""
    import json  # noqa: PLC0415 - only on this rare path

    try:
        request: Any = json.loads(body)
        faults = list(text_faults(request["params"]))
        id_ = _encode(request.get("id"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return _error(id_, invalid(faults)) if faults else None


def _other_protocol(theirs: _Range, client: _Client | None) -> Error:
    """Say which side is older: that one is to be brought up to date."""
    spoken = str(theirs.min) if theirs.min == theirs.max else f"{theirs.min} to {theirs.max}"
    name = client.name[:_NAME] if client is not None and client.name else "the client"
    is_old = theirs.max < PROTOCOL
    cure = "update the client" if is_old else "update coder-local, then: coder-local daemon handover"
    return Unsupported(
        f"this daemon, version {__version__}, speaks protocol {PROTOCOL}; {name} speaks {spoken}",
        hint=f"{cure}; the {'client' if is_old else 'daemon'} is the older one",
        data={"protocol": PROTOCOL, "version": __version__},
    )


def _first_initialize() -> Unauthenticated:
    return Unauthenticated("call `initialize` first, with the token of runtime.json", field="/token")
