"""Errors as RFC 9457 `application/problem+json`, with the members that every door gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from coder_local.api import Error, RateLimited

TYPE = "urn:coder-local:error:"
"""An error's `type` is this and its kind; it names the kind and need not be fetched."""
BASE_HEADERS: Mapping[str, str] = {
    "Server": "coder-local",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer: what is said is for the caller alone, and tells no version."""

_TITLES = {
    "invalid": "The input is not valid",
    "not_found": "Not found",
    "conflict": "In conflict with what is there",
    "stale": "Changed since it was read",
    "refused": "Refused",
    "needs_confirmation": "A person must confirm this",
    "locked": "Locked",
    "too_large": "Too large",
    "rate_limited": "Too many calls",
    "offline": "No network",
    "timeout": "Took too long",
    "unsupported": "Not available here",
    "broken": "A fault of the program",
}


def body(error: Error, request_id: str, status: int) -> dict[str, Any]:
    """Return the members of a problem."""
    return {
        "type": TYPE + error.kind,
        "title": _TITLES[error.kind],
        "status": status,
        "detail": error.message,
        **error.to_wire(),
        **({"request_id": request_id} if request_id else {}),
    }


def response(
    error: Error, request_id: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an error as an answer. `status` is given where HTTP has a finer word than the kind."""
    code = status or error.code.http
    fields = {**BASE_HEADERS, "Content-Type": "application/problem+json", **(headers or {})}
    if request_id:
        fields["X-Request-Id"] = request_id
    if isinstance(error, RateLimited) or "retry_after_ms" in error.data:
        fields["Retry-After"] = str(max(1, math.ceil(error.data.get("retry_after_ms", 1000) / 1000)))
    if code == 401:
        fields["WWW-Authenticate"] = 'Bearer realm="coder-local"'
    return web.Response(status=code, body=msgspec.json.encode(body(error, request_id, code)), headers=fields)
