"""Frames of the Language Server Protocol's base protocol: `Content-Length: N`, an empty line, N bytes."""

from __future__ import annotations

import re
from typing import Literal

HEADER_LIMIT = 4096
"""Longest header block in bytes, the empty line that ends it included."""

_END = b"\r\n\r\n"
_CANONICAL = re.compile(rb"Content-Length: ([0-9]{1,15})\r\n\r\n").match
_FIELD = re.compile(rb"([A-Za-z][!#$%&'*+.^_`|~0-9A-Za-z-]*)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*").fullmatch
_BARE_LINE_END = re.compile(rb"(?<!\r)\n").search


class FrameError(Exception):
    """Bytes that are no frame, or a frame over the limit; nothing after them can be trusted.

    `bodies` holds the complete bodies that preceded the fault in the same feed: their senders deserve an answer.
    """

    def __init__(self, kind: Literal["too_large", "malformed"], message: str, bodies: tuple[bytes, ...] = ()) -> None:
        super().__init__(message)
        self.kind: Literal["too_large", "malformed"] = kind
        self.bodies = bodies


def encode(body: bytes) -> bytes:
    """Return `body` as one frame."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameParser:
    """Cut a byte stream into bodies, however the stream was split on its way.

    Each byte is copied at most three times, whatever the number of feeds. A parser that has raised stays broken and
    raises again on every later feed.
    """

    __slots__ = ("_fault", "_max_body", "_need", "_pending")

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._pending = bytearray()  # the start of the first incomplete frame
        self._need = 0  # bytes of `_pending` below which looking at it again is a waste
        self._fault: FrameError | None = None

    @property
    def pending(self) -> int:
        """Return the number of bytes held of a frame that has not ended."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies completed by `data`, in order.

        Raises `FrameError`: `malformed` for bytes that are no header block of at most `HEADER_LIMIT` bytes, `too_large`
        as soon as a header announces more than `max_body` bytes.
        """
        if self._fault is not None:
            raise FrameError(self._fault.kind, str(self._fault))
        if self._pending:
            self._pending += data
            if len(self._pending) < self._need:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        bodies: list[bytes] = []
        try:
            kept = self._cut(data, bodies)
        except FrameError as fault:
            fault.bodies = tuple(bodies)
            self._fault = fault
            raise
        if kept < len(data):
            self._pending += memoryview(data)[kept:]
        return bodies

    def _cut(self, data: bytes, bodies: list[bytes]) -> int:
        """Append the complete bodies of `data` to `bodies` and return where the incomplete rest starts."""
        position, size, limit = 0, len(data), self._max_body
        append, canonical = bodies.append, _CANONICAL
        while position < size:
            if header := canonical(data, position):
                start, length = header.end(), int(header[1])
            else:
                end = data.find(_END, position, position + HEADER_LIMIT)
                if end < 0:
                    _check_beginning(data[position : position + HEADER_LIMIT])
                    self._need = size - position + 1
                    return position
                start, length = end + len(_END), _content_length(data[position:end])
            if length > limit:
                raise FrameError("too_large", f"a body of {length} bytes is over the limit of {limit} bytes")
            stop = start + length
            if stop > size:
                self._need = stop - position
                return position
            append(data[start:stop])
            position = stop
        return position


def _check_beginning(block: bytes) -> None:
    """Raise for an incomplete header block that cannot become a complete one.

    A person who types JSON into the socket, or a client that ends lines with a bare LF, is told at once: it would
    otherwise wait for an answer until it had sent `HEADER_LIMIT` bytes.
    """
    if not block[:1].isalpha():
        raise _malformed(f"a frame starts with a header line, not with {block[:1]!r}")
    if _BARE_LINE_END(block):
        raise _malformed("header lines end in CR LF, not in LF alone")
    if len(block) == HEADER_LIMIT:
        raise _malformed(f"no empty line within {HEADER_LIMIT} bytes of header")


def _content_length(block: bytes) -> int:
    """Return the body length that a complete header block (without its empty line) announces."""
    length: int | None = None
    for line in block.split(b"\r\n"):
        field = _FIELD(line)
        if field is None:
            raise _malformed(f"{line[:80]!r} is no header line")
        if field[1].lower() != b"content-length":
            continue
        if length is not None:
            raise _malformed("Content-Length stands twice")
        # int() also takes signs, blanks and underscores, which no other implementation would read the same way
        if not field[2].isdigit():
            raise _malformed(f"Content-Length {field[2][:80]!r} is not a decimal number")
        length = int(field[2])
    if length is None:
        raise _malformed("the header block has no Content-Length")
    return length


def _malformed(message: str) -> FrameError:
    return FrameError("malformed", f"{message}; send 'Content-Length: N', CR LF, CR LF, then N bytes of JSON")
