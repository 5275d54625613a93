"""One request and what its answer bears."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import ClientPayloadError, web
from multidict import CIMultiDict

from coder_local._registry.principal import Principal
from coder_local.api import Error, Invalid, TimedOut, TooLarge

from . import problems
from .connection import BODY_LIMIT

BODY_SECONDS = 60.0
"""A body must be whole so long after its headers."""
_ids = random.Random()  # noqa: S311 - an id of a log line is no secret, and the system's randomness costs a call
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE).fullmatch


class Problem(Exception):
    """An error for which HTTP has a finer status than its kind."""

    def __init__(
        self, error: Error, status: int, headers: Mapping[str, str] | None = None, *, close: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status
        self.headers = dict(headers or {})
        self.close = close


class Exchange(NamedTuple):
    """A request that was admitted."""

    request: web.BaseRequest
    method: str
    """HEAD is GET without a body, which aiohttp leaves out."""
    principal: Principal
    request_id: str
    path: str
    query: str
    common: CIMultiDict[str]
    """Headers of every answer to it."""

    def header(self, name: str) -> str | None:
        """Return a request header."""
        return self.request.headers.get(name)

    def answer(self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        """Return JSON."""
        fields = self.common  # not copied: a request has one answer
        fields["Content-Type"] = "application/json"
        if headers:
            fields.update(headers)
        return web.Response(status=status, body=body, headers=fields)


def request_id(given: str | None) -> str:
    """Return the caller's id of the request, or a new one if it gave none that can stand in a log."""
    return given if given is not None and _REQUEST_ID(given) else f"{_ids.getrandbits(128):032x}"


_BASE_HEADERS = CIMultiDict(problems.BASE_HEADERS)


def common_headers(id_: str, cors: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of every answer to a request."""
    fields = _BASE_HEADERS.copy()
    fields["X-Request-Id"] = id_
    if cors:
        fields.update(cors)
    return fields


async def read_body(request: web.BaseRequest) -> bytes:
    """Return the body, JSON by its own word; empty if there is none. Raises `TooLarge` or a `Problem`."""
    if not request.can_read_body:
        return b""
    if (request.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    _check_type(request)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or an error after it could no longer be answered
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except TimeoutError as error:
        raise Problem(
            TimedOut(f"the body was not whole after {BODY_SECONDS:g} s; nothing was done"), 408, close=True
        ) from error
    except (web.RequestPayloadError, ClientPayloadError) as error:
        raise Problem(Invalid("the body cannot be read", hint="send it whole"), 400, close=True) from error


def _check_type(request: web.BaseRequest) -> None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise Problem(Invalid("a compressed body is not taken", hint="send it without Content-Encoding"), 415)
    if not _JSON(request.content_type):
        raise Problem(
            Invalid(
                f"a body is application/json, not {request.content_type[:80]}",
                hint="set Content-Type: application/json",
            ),
            415,
        )


def _too_large() -> Problem:
    megabytes = BODY_LIMIT // (1024 * 1024)
    error = TooLarge(f"a body has at most {megabytes} MiB", hint="send it in parts", data={"limit": BODY_LIMIT})
    return Problem(error, error.code.http, close=True)
