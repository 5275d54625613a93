"""The log of one attempt: an append-only file of frames, each with a time, a stream and a length.

A frame is 13 bytes of head (milliseconds since 1970 in 8 bytes, stream in 1, length in 4; big-endian), then that many
bytes. Frames cut the output where a read happened to end: in the middle of a line, or of a character. A reader goes
on from a byte offset, and leaves half a frame at the end for later: its writer may be at it, or was killed there.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STDOUT = 1
STDERR = 2
GAP = 3
"""Not output: the 8 bytes count what was dropped at this place, because the log had reached its limit."""

NAME = "log"
HEAD = struct.Struct(">QBI")
LONGEST = 1024 * 1024  # bytes of one frame; more is refused as damage, before memory is asked for


class Frame(NamedTuple):
    """A piece of output as it was read; `next` is the offset after it."""

    at_ms: int
    stream: int
    data: bytes
    next: int

    @property
    def dropped(self) -> int:
        """Return how many bytes a gap stands for; 0 for output."""
        return int.from_bytes(self.data, "big") if self.stream == GAP else 0


def head(at_ms: int, stream: int, size: int) -> bytes:
    """Return the head of a frame."""
    return HEAD.pack(at_ms, stream, size)


def iterate(path: Path | str, offset: int = 0) -> Iterator[Frame]:
    """Yield the whole frames from an offset on, which is 0 or the `next` of an earlier frame.

    No file is no frames. Raises ValueError where the bytes are no frame: the offset is wrong, or the file damaged.
    """
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 (pathlib is slow to import; closed below)
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        while len(start := file.read(HEAD.size)) == HEAD.size:
            at_ms, stream, size = HEAD.unpack(start)
            if stream not in (STDOUT, STDERR, GAP) or size > LONGEST:
                raise ValueError(f"no frame begins at byte {offset} of {path}")
            data = file.read(size)
            if len(data) < size:
                return
            offset += HEAD.size + size
            yield Frame(at_ms, stream, data, offset)


def read(path: Path | str, offset: int = 0, limit: int = LONGEST) -> tuple[list[Frame], int]:
    """Return the frames from an offset on, and the offset to go on from.

    Stops after the frame that brings the bytes to `limit` or more. Raises as `iterate` does.
    """
    return take(iterate(path, offset), offset, limit)


def take(frames: Iterator[Frame], offset: int, limit: int) -> tuple[list[Frame], int]:
    """Return the first of some frames that begin at an offset, as `read` does, and the offset to go on from."""
    found: list[Frame] = []
    size = 0
    for frame in frames:
        found.append(frame)
        offset = frame.next
        size += len(frame.data)
        if size >= limit:
            break
    return found, offset


def tail(path: Path | str, size: int, only: int | None = None) -> bytes:
    """Return the last bytes of the output, at most `size`: both streams as they came, or `only` one of them.

    Reads the heads of all frames, and the data of the last ones only.
    """
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 (pathlib is slow to import; closed below)
    except FileNotFoundError:
        return b""
    with file:
        end = os.fstat(file.fileno()).st_size
        kept: list[tuple[int, int]] = []
        held = offset = 0
        while len(start := file.read(HEAD.size)) == HEAD.size:
            _, stream, length = HEAD.unpack(start)
            offset += HEAD.size + length
            if offset > end:
                break
            file.seek(offset)
            if stream != GAP and only in {None, stream}:
                kept.append((offset - length, length))
                held += length
                while held - kept[0][1] >= size > 0:
                    held -= kept.pop(0)[1]
        pieces: list[bytes] = []
        for place, length in kept:
            file.seek(place)
            pieces.append(file.read(length))
        return b"".join(pieces)[-size:] if size else b""
