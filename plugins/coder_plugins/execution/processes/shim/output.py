"""Keeping the output of one command: masked, framed, and never more than a limit."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque

from .frames import GAP, HEAD, LONGEST, STDERR, STDOUT, head
from .mask import Masker

_TAIL = 1024 * 1024
"""Bytes of the end that are kept when the output goes over the limit: an error is usually said last."""
_PIECES = 4096
_JOINED = 64 * 1024


class Output:
    """Writes the output to the log until the limit, then keeps the last of it in memory and counts the rest.

    `settle` writes what is in memory. A write that fails, as on a full disk, counts as dropped: the command must not
    stand still, or end, because its log cannot be kept.
    """

    def __init__(self, path: str, masks: list[bytes], limit: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError:
            self._file = os.open(os.devnull, flags)
        self._size = 0
        self._maskers = {STDOUT: Masker(masks), STDERR: Masker(masks)}
        self._tail_limit = min(_TAIL, limit // 2)
        self._room = limit - self._tail_limit
        self._tail: deque[tuple[int, int, bytearray]] = deque()
        self._tail_size = 0
        self._dropped = 0

    def feed(self, stream: int, data: bytes) -> None:
        """Take what was read from a stream."""
        self._keep(stream, self._maskers[stream].feed(data))

    def end(self, stream: int) -> None:
        """Take note that a stream has ended: what its masking held back is decided."""
        self._keep(stream, self._maskers[stream].finish())

    def settle(self) -> None:
        """Write what the limit has held in memory: how much was dropped, and the end of the output after it."""
        if self._dropped and self._append(_now(), GAP, self._dropped.to_bytes(8, "big")):
            self._dropped = 0
        while self._tail:
            self._append(*self._tail.popleft())
        self._tail_size = 0

    def close(self) -> None:
        """Settle, and close the log."""
        self.settle()
        os.close(self._file)

    def _keep(self, stream: int, data: bytes) -> None:
        for start in range(0, len(data), LONGEST):
            piece = data[start : start + LONGEST]
            size = HEAD.size + len(piece)  # the limit is of the file, also for output that comes byte by byte
            if size <= self._room:
                self._room -= size
                if not self._append(_now(), stream, piece):
                    self._dropped += len(piece)
            else:
                self._room = 0  # a later, shorter piece must not be written before this one
                self._hold(stream, piece)

    def _hold(self, stream: int, piece: bytes) -> None:
        last = self._tail[-1] if self._tail else None
        if last is not None and last[1] == stream and len(last[2]) + len(piece) <= _JOINED:
            last[2].extend(piece)  # else a flood of single bytes would cost a hundred times its size
        else:
            self._tail.append((_now(), stream, bytearray(piece)))
        self._tail_size += len(piece)
        while self._tail_size > self._tail_limit or len(self._tail) > _PIECES:
            first = self._tail[0][2]
            surplus = self._tail_size - self._tail_limit if len(self._tail) <= _PIECES else len(first)
            surplus = min(len(first), surplus)
            del first[:surplus]
            self._tail_size -= surplus
            self._dropped += surplus
            if not first:
                self._tail.popleft()

    def _append(self, at_ms: int, stream: int, data: bytes | bytearray) -> bool:
        """Write one frame whole or not at all: half a frame in the middle would hide all that comes after it."""
        frame = head(at_ms, stream, len(data)) + data
        try:
            written = os.write(self._file, frame)
            while written < len(frame):
                written += os.write(self._file, frame[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            return False
        self._size += len(frame)
        return True


def _now() -> int:
    return time.time_ns() // 1_000_000
