"""Operations as REST: input from path, query, headers and body; the answer with status, ETag and Location."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec
from aiohttp import web

from coder_local._registry.dispatch import Call, Cancel, Dispatcher
from coder_local._registry.signature import invalid
from coder_local.api import Error, Fault, Invalid, Kind, Stale

from .exchange import Exchange, Problem, read_body
from .merge import merge_patch
from .routes import Found, Target

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ETAG = re.compile(r'"(\d{1,15})"').fullmatch
_HEADER_FIELDS = (("Idempotency-Key", "idempotency_key"), ("X-Confirm", "confirm"))
_MERGES = 3
"""Times that a patch of an object inside a record is tried again when the record has changed meanwhile."""


class _Head(msgspec.Struct):
    """The part of a record that headers are made of; the rest of its JSON is passed over."""

    id: str = ""
    rev: int = 0


_head = msgspec.json.Decoder(_Head).decode
# Before any inner brace this can only be the record's own key: a quote inside a text is escaped. To decode costs 2 us.
_REV = b'"rev":'


def with_headers(exchange: Exchange, found: Found) -> dict[str, str]:
    """Return the fields of an input that the path and headers give."""
    fields = {} if found.id is None else {"id": found.id}
    for header, field in _HEADER_FIELDS:
        if (value := exchange.header(header)) is not None:
            fields[field] = value
    return fields


class Asked:
    """A call and its answer, without a future if that is there at once."""

    __slots__ = ("_body", "_error", "_future", "cancel", "done")

    def __init__(self) -> None:
        self.done = False
        self.cancel: Cancel | None = None
        """What to do when the client leaves."""
        self._body: bytes | None = None
        self._error: Error | None = None
        self._future: asyncio.Future[None] | None = None

    def __call__(self, body: bytes | None, error: Error | None) -> None:
        """Take the answer."""
        self.done, self._body, self._error = True, body, error
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Return when the answer is there."""
        if self.done:
            return
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        except asyncio.CancelledError:
            if self.cancel is not None:
                self.cancel()
            raise

    def result(self) -> bytes:
        """Return the answer as JSON. Raises the named error."""
        if self._error is not None:
            raise self._error
        return self._body or b"null"


class Sent(NamedTuple):
    """The input of a call: the body as it was sent, and with the fields that stand in path and headers."""

    body: bytes
    raw: bytes


class Rest:
    """Answers requests for operations that are no streams."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def look_up(self, exchange: Exchange, target: Target, found: Found) -> Asked:
        """Begin to answer a query. Where it is answered at once, no coroutine is paid for."""
        fixed = {} if found.id is None else {"id": found.id}
        return self._ask(exchange, target, target.reader.read(exchange.query, fixed))

    async def answer(self, exchange: Exchange, target: Target, found: Found) -> web.Response:
        """Answer what is no query. Raises the named error."""
        sent = await read_body(exchange.request)
        extra = self._extra(exchange, target, found)
        patch = _patch_of(sent) if exchange.method == "PATCH" else None
        if patch is not None and "if_rev" not in patch and self._dispatcher.registry.offers(_get_of(target)):
            body = await self._merge(exchange, target, patch, extra)
        else:
            body = await self._send(exchange, target, sent, extra)
        return self.answered(exchange, target, body)

    async def input(self, exchange: Exchange, target: Target, found: Found) -> Sent:
        """Return the input of what is no query. Raises the named error."""
        body = await read_body(exchange.request)
        return Sent(body, _with(body, self._extra(exchange, target, found)))

    def _extra(self, exchange: Exchange, target: Target, found: Found) -> dict[str, Any]:
        """Return the fields of the input that stand in path and headers."""
        extra: dict[str, Any] = dict(with_headers(exchange, found))
        if exchange.query:
            if exchange.method != "DELETE":
                raise Invalid("a query string is for GET and DELETE", hint="send these fields in the body, as JSON")
            extra = msgspec.json.decode(target.reader.read(exchange.query, extra))
            extra = {name: value for name, value in extra.items() if value is not None}
        if (tag := exchange.header("If-Match")) is not None and tag.strip() != "*":
            extra["if_rev"] = _rev_of(tag)
        return extra

    async def _send(self, exchange: Exchange, target: Target, sent: bytes, extra: Mapping[str, Any]) -> bytes:
        raw = _with(sent, extra)
        try:
            return await self._call(exchange, target, raw)
        except Invalid as error:
            check_json(sent, error)
            raise

    async def _call(self, exchange: Exchange, target: Target, raw: bytes) -> bytes:
        asked = self._ask(exchange, target, raw)
        await asked.wait()
        return asked.result()

    def _ask(self, exchange: Exchange, target: Target, raw: bytes) -> Asked:
        asked = Asked()
        call = Call(target.name, raw, exchange.principal, asked, request_id=exchange.request_id)
        cancel = self._dispatcher.start(call)
        # When the client leaves, what it asked to be written is written: it cannot know how far that had come.
        asked.cancel = cancel if target.operation.kind is not Kind.COMMAND else None
        return asked

    async def _merge(self, exchange: Exchange, target: Target, patch: dict[str, Any], extra: dict[str, Any]) -> bytes:
        """Update with objects merged into those that the record holds (RFC 7396); the operation itself replaces."""
        get = _get_of(target)
        key = _encode({"id": extra["id"]})
        held = "if_rev" in extra or "idempotency_key" in extra  # a repeated call must have the same input
        for attempt in range(1, _MERGES + 1):
            current = msgspec.json.decode(
                await self._dispatcher.call(get, key, exchange.principal, exchange.request_id)
            )
            merged = {
                name: merge_patch(current.get(name), value) if isinstance(value, dict) else value
                for name, value in patch.items()
            }
            seen = {} if held else {"if_rev": current["rev"]}
            try:
                return await self._send(exchange, target, json.dumps(merged).encode(), {**seen, **extra})
            except Stale:
                if held or attempt == _MERGES:
                    raise
        raise AssertionError("the last attempt answers or raises")

    def answered(self, exchange: Exchange, target: Target, body: bytes) -> web.Response:
        """Return an answer with its status, ETag and Location."""
        if not target.answers_record:
            return exchange.answer(body)
        tag = _tag(body)
        if target.collection is not None:
            location = {"ETag": tag, "Location": f"{target.collection}/{_head(body).id}"}
            return exchange.answer(body, status=201, headers=location)
        if exchange.method == "GET" and (known := exchange.header("If-None-Match")) is not None:
            tags = {each.strip().removeprefix("W/") for each in known.split(",")}
            if tag in tags or "*" in tags:
                return web.Response(status=304, headers={**exchange.common, "ETag": tag})
        return exchange.answer(body, headers={"ETag": tag})


def _tag(body: bytes) -> str:
    """Return the ETag of a record's JSON: its `rev`."""
    at = body.find(_REV)
    if at < 0 or body.find(b"{", 1, at) > 0:
        return f'"{_head(body).rev}"'
    return f'"{body[at + len(_REV) : body.index(b",", at)].decode()}"'


def _get_of(target: Target) -> str:
    return target.name.removesuffix("update") + "get"


def _rev_of(tag: str) -> int:
    found = _ETAG(tag.strip())
    if found is None:
        raise Invalid(
            "If-Match is one ETag that this daemon gave, or *",
            field="/if_rev",
            hint='send the ETag of your last read, such as "3"',
        )
    return int(found[1])


def _with(sent: bytes, extra: Mapping[str, Any]) -> bytes:
    """Return a body with some fields put in. What is no object is left to the operation's own answer."""
    if not extra:
        return sent or b"{}"
    if not sent:
        return _encode(extra)
    try:
        fields: dict[str, Any] = _fields(sent)
    except msgspec.ValidationError:
        return sent
    except (
        msgspec.DecodeError,
        RecursionError,
    ):  # half a surrogate pair is JSON by its grammar; the input check names it
        try:
            fields = json.loads(sent)
        except (ValueError, RecursionError):
            return sent
        _check_twice(fields, extra)
        return json.dumps({**fields, **extra}).encode()
    _check_twice(fields, extra)
    return _encode({**fields, **extra})


def _check_twice(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Raise `Invalid` if the body contradicts the path or a header."""
    faults = tuple(
        Fault(f"/{name}", "the path or a header says otherwise", "leave it out of the body")
        for name in extra
        if name in fields and _plain(fields[name]) != extra[name]
    )
    if faults:
        raise invalid(faults)


def _plain(field: Any) -> Any:
    return msgspec.json.decode(field) if isinstance(field, msgspec.Raw) else field


def _patch_of(sent: bytes) -> dict[str, Any] | None:
    """Return a merge patch if some of its values are objects, for only those must be merged."""
    if sent.count(b"{") < 2:
        return None
    try:
        values: Any = json.loads(sent, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    fields = cast("dict[str, Any]", values)
    return fields if any(isinstance(value, dict) for value in fields.values()) else None


def check_json(sent: bytes, error: Invalid) -> None:
    """Raise a 400 if a body was sent and is no JSON at all, where an input that is wrong has 422."""
    if not sent:
        return

    def constant(word: str) -> Any:
        raise ValueError(word)

    try:
        json.loads(sent.decode(), parse_constant=constant)  # of bytes it would take UTF-16 too
    except RecursionError:
        return
    except ValueError:
        raise Problem(error, 400) from error
