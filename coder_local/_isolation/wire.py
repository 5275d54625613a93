"""Messages between the daemon and a plugin's process: MessagePack in the frames of `coder_ipc.framing`, over pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from coder_ipc.framing import FrameError, FrameParser, encode
from coder_local.api import Broken, Error, TooLarge
from coder_local.api.errors import KINDS

Message = dict[str, Any]
LIMIT = 16 * 1024 * 1024
"""Longest message in bytes, either way."""
NO_MESSAGE = "it sent what is no message"
_CHUNK = 1 << 16
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class Channel:
    """Two pipes. Any thread may send; one thread receives."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._sending = threading.Lock()
        self.fault = ""
        """Why no more messages are received, where that is not the end of the other side."""

    def send(self, message: Message) -> None:
        """Write a message whole, waiting for its reader.

        Raises `TooLarge` for one over the limit, and `OSError` when nobody reads any more.
        """
        body = _pack(message)
        if len(body) > LIMIT:
            raise TooLarge("what a plugin's process sends or is sent is over 16 MiB", data={"limit": LIMIT})
        left = memoryview(encode(body))
        with self._sending:
            while left:
                left = left[os.write(self._outgoing, left) :]

    def messages(self) -> Iterator[Message]:
        """Yield the messages that come, until the other side is gone or sends what is none."""
        parser = FrameParser(LIMIT)
        while True:
            try:
                data = os.read(self._incoming, _CHUNK)
                bodies = [_unpack(body) for body in parser.feed(data)] if data else None
            except OSError:
                return
            except (FrameError, msgspec.DecodeError, RecursionError):  # the last of what is nested too deep
                self.fault = NO_MESSAGE
                return
            if bodies is None:
                return
            for message in bodies:
                if isinstance(message, dict):
                    yield message

    def close(self) -> None:
        """Close both pipes."""
        for each in (self._incoming, self._outgoing):
            os.close(each)


class Fault(Exception):
    """An exception of the plugin that nobody expected, as its process tells of it."""


def fault_of(error: BaseException) -> Message:
    """Return an exception as plain data: a named error whole, any other by its name, text and traceback."""
    if isinstance(error, Error):
        return error.to_wire()
    import traceback  # noqa: PLC0415 - only for a plugin that failed

    text = "".join(traceback.format_exception(error))
    return {"kind": "", "message": f"{type(error).__name__}: {error}"[:2000], "trace": text[-20_000:]}


def error_of(fault: Message) -> Exception:
    """Return the exception that plain data tells of."""
    kind = KINDS.get(str(fault.get("kind")))
    message = str(fault.get("message"))
    if kind is None or kind is Broken:
        return Fault(f"{message}\n{fault.get('trace', '')}".rstrip())
    return kind(message, field=fault.get("field"), hint=fault.get("hint"), data=dict(fault.get("data") or {}))
