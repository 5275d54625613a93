"""Steps of kind `http`: one request, with the same idempotency key in every attempt."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections.abc import Iterable
from typing import Any

import msgspec

from coder_local.api import Effect, Fault, Safety, Snapshot, StepError, StepRun, WorkKind
from coder_plugins.execution.rules.references import as_text

from .records import HttpInput
from .secrets import in_clear

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read; what comes after them is left out, and the output says so."""
_TEXT_LIMIT = 256 * 1024
"""Bytes of an answer that stand in the output as text."""
_HEADERS = ("content-type", "etag", "last-modified", "location", "retry-after", "x-request-id", "date")


class HttpKind(WorkKind[HttpInput]):
    """Send one HTTP request, and answer with its status, some headers and its body."""

    name = "http"
    input = HttpInput

    def safety(self, read: Snapshot, input: HttpInput, /) -> Safety:  # noqa: ARG002
        return Safety.EXTERNAL

    def effect(self, read: Snapshot, input: HttpInput, /) -> Effect:  # noqa: ARG002
        if input.method in _READS:
            return Effect.REPEATABLE
        return Effect.KEYED if input.idempotency_header is not None else Effect.ONCE

    def check(self, read: Snapshot, input: HttpInput, /) -> Iterable[Fault]:  # noqa: ARG002
        if input.body is not None and input.json is not msgspec.UNSET:
            yield Fault("/body", "give either body or json", None)
        for name, value in input.headers.items():
            if not name or any(character in name + as_text(value) for character in "\r\n\0"):
                yield Fault(f"/headers/{name}", "a header is one line", None)

    async def run(self, step: StepRun, input: HttpInput, /) -> Any:
        aiohttp: Any = await asyncio.to_thread(importlib.import_module, "aiohttp")  # 200 ms, if nobody had it before
        headers = {name: (await in_clear(step, value))[0] for name, value in input.headers.items()}
        if input.idempotency_header is not None:
            headers[input.idempotency_header] = hashlib.sha256(step.idempotency_key.encode()).hexdigest()[:32]
        data: Any = input.body
        if input.json is not msgspec.UNSET:
            data = msgspec.json.encode(input.json)
            headers.setdefault("Content-Type", "application/json")
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
                session.request(input.method, input.url, headers=headers, data=data) as response,
            ):
                body, whole = await _read(response)
        except (aiohttp.ClientError, OSError) as error:
            raise StepError(f"{input.method} {input.url}: {error}", word="connection") from error
        return _judge(input, response, body, whole=whole)


async def _read(response: Any) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(64 * 1024):
        parts.append(part[: _BODY_LIMIT - size])
        size += len(part)
        if size > _BODY_LIMIT:
            return b"".join(parts), False
    return b"".join(parts), True


def _judge(input: HttpInput, response: Any, body: bytes, *, whole: bool) -> dict[str, Any]:
    """Return the output for an answer. Raises `StepError` if its status is no success."""
    output: dict[str, Any] = {
        "status": response.status,
        "headers": {name: response.headers[name] for name in _HEADERS if name in response.headers},
        "sha256": hashlib.sha256(body).hexdigest(),
        "bytes": len(body),
        "whole": whole,
    }
    text = body[:_TEXT_LIMIT].decode("utf-8", "replace")
    output["body"] = text
    if whole and "json" in response.headers.get("content-type", "") and len(body) <= _TEXT_LIMIT:
        try:
            output["json"] = msgspec.json.decode(body)
        except msgspec.DecodeError:
            output["json"] = None
    good = response.status < 400 if input.ok_statuses is None else response.status in input.ok_statuses
    if not good:
        word = "server" if response.status >= 500 or response.status in {408, 425, 429} else "status"
        raise StepError(
            f"{input.method} {input.url} answered {response.status}", word=word, retry=word == "server", data=output
        )
    return output
