"""Texts that an argument names instead of holding them: `@FILE`, and `-` for standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .errors import Failure, invalid

_LIMIT = 64 * 1024 * 1024
"""Bytes; far over what the daemon takes in one call, and far under what would fill the memory."""


def read(argument: str, what: str) -> str:
    """Return the text that an argument stands for; `@@text` is `@text` itself.

    `what` names the argument in errors. Raises `Failure`.
    """
    if argument == "-":
        return _decoded(sys.stdin.buffer.read(_LIMIT + 1), "standard input", what)
    if argument.startswith("@@"):
        return argument[1:]
    if argument.startswith("@"):
        return read_file(argument[1:], what)
    return argument


def read_file(name: str, what: str) -> str:
    """Return the text of a file. Raises `Failure`."""
    try:
        with Path(name).expanduser().open("rb") as file:
            body = file.read(_LIMIT + 1)
    except OSError as fault:
        raise Failure(
            "invalid",
            f"{what}: {name or 'the file after @'} cannot be read: {fault.strerror}",
            hint=f"write @@{name} for the text @{name} itself",
        ) from fault
    return _decoded(body, name, what)


def json_of(text: str) -> Any:
    """Return the value of a JSON text. Raises `ValueError`, for NaN and for endless nesting too."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _decoded(body: bytes, source: str, what: str) -> str:
    if len(body) > _LIMIT:
        raise Failure("too_large", f"{what}: {source} is over {_LIMIT // 2**20} MiB")
    try:
        return body.decode("utf-8-sig")  # Windows shells write a mark in front
    except UnicodeDecodeError as fault:
        raise invalid(f"{what}: {source} is not UTF-8: {fault}", hint="convert it first") from None
