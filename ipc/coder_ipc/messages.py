"""JSON-RPC 2.0 messages: frames to send, and the sorting of bodies that arrive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from .errors import RemoteError
from .framing import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BODY = 256 * 1024 * 1024
"""Largest answer a client takes, in bytes; the daemon's own limits are far below, so more means a broken peer."""

# check_circular costs a set operation for each container; a cycle ends in RecursionError either way
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def request(call: int | None, method: str, params: object = None) -> bytes:
    """Return the frame of a call, or of a notification when `call` is None.

    Raises `ValueError` for NaN and infinities, `TypeError` for what JSON cannot carry.
    """
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    if call is not None:
        message["id"] = call
    if params is not None:
        message["params"] = params
    return encode(_to_json(message).encode())


def cancel(call: int) -> bytes:
    """Return the frame that asks the daemon to cancel a call."""
    return request(None, "$/cancelRequest", {"id": call})


def parse(body: bytes) -> list[dict[str, Any]]:
    """Return the messages of one body: one, or those of a batch.

    Raises `ValueError` for a body that is not JSON; the connection is of no more use then, for no answer can be
    matched any more.
    """
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"the daemon sent a body that is not JSON: {fault}") from None
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def call_of(message: dict[str, Any]) -> int:
    """Return the number of the call that a message or its params belong to, 0 for none."""
    call = message.get("id")
    return call if isinstance(call, int) else 0


def params_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return the named parameters of a notification, none when it carries something else."""
    params = message.get("params")
    return cast("dict[str, Any]", params) if isinstance(params, dict) else {}


def result_of(answer: dict[str, Any]) -> Any:
    """Return the result of an answer; raises `RemoteError` when it is an error."""
    if "error" in answer:
        raise RemoteError.from_wire(answer["error"])
    return answer.get("result")


def subscribe_params(cursor: str | None, types: Sequence[str], subjects: Sequence[str]) -> dict[str, Any]:
    """Return the input of `events.subscribe`; no types or no subjects means all of them."""
    params: dict[str, Any] = {}
    if cursor is not None:
        params["cursor"] = cursor
    if types:
        params["types"] = list(types)
    if subjects:
        params["subjects"] = list(subjects)
    return params


def cursor_after(params: dict[str, Any], before: str) -> str:
    """Return the cursor that a subscription resumes at after an event or a reset."""
    return str(params.get("cursor") or params.get("head") or before)
