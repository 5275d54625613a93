"""The end of the log, without what anybody but the program wrote into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from .redact import own_words

MOST = 256 * 1024
"""Bytes of each log that are looked at, from its end."""
FILES = ("daemon.stderr.log.1", "daemon.stderr.log")
# a request id is whatever a client chose
_KEPT = ("time", "level", "logger", "report_id", "plugin")
_OWN = "coder_local."
_FRAME = re.compile(r'\s*File "([^"]+)", line (\d+), in ([\w<>.]+)')
_ERROR = re.compile(r"^([A-Za-z_][\w.]*)(:|$)")
_OWN_PATH = re.compile(r".*?((?:coder_local|coder_plugins|coder_ipc|site-packages|python3\.\d+)[/\\].*)")
_NAME = re.compile(r"[\w.:-]{1,80}")


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the last lines of the log of a data directory, oldest first."""
    for name in FILES:
        path = folder / "logs" / name
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - MOST))
                text = file.read()
        except OSError:
            continue
        for line in text.splitlines():
            yield _line(line)


def _line(text: bytes) -> dict[str, Any]:
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return _raw(text.decode("utf-8", "replace"))
    line = cast("dict[str, Any]", value)
    kept: dict[str, Any] = {
        name: each for name in _KEPT if isinstance(each := line.get(name), str) and _NAME.fullmatch(each)
    }
    message = str(line.get("message", ""))
    own = str(line.get("logger", "")).startswith(_OWN)
    kept["message"] = own_words(message) if own else f"<{len(message)} characters>"
    if isinstance(trace := line.get("trace"), str):
        kept["trace"] = _trace(trace)
    elif own and _FRAME.search(message):
        kept["trace"] = _trace(message)  # where a blocked thread stands
    return kept


def _raw(text: str) -> dict[str, Any]:
    """Return a line that is not of our form: of a crash of Python itself, or what somebody printed."""
    if frame := _FRAME.match(text):
        return {"raw": _frame(frame)}
    known = (
        "Traceback (most recent call last):",
        "Fatal Python error: Segmentation fault",
        "Fatal Python error: Aborted",
    )
    return {"raw": text if text in known else f"<{len(text)} characters>"}


def _trace(text: str) -> list[str]:
    """Return where an exception came from and of which type it was; what it said may be anything, on any line."""
    found: list[str] = []
    ends = False
    for line in text.splitlines():
        if frame := _FRAME.match(line):
            found.append(_frame(frame))
            ends = True
        elif ends and not line.startswith(" "):  # the first line after the frames names the type
            found += [error[1]] if (error := _ERROR.match(line)) else []
            ends = False
    return found


def _frame(match: re.Match[str]) -> str:
    path = _OWN_PATH.fullmatch(match[1])
    return f"{path[1] if path else '<path>'}:{match[2]} {match[3]}"
