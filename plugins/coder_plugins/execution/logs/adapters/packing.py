"""Output that is over, compressed in blocks: whoever reads on from an offset unpacks no more than one block before it.

A packed log is blocks behind each other. Each has a head of 16 bytes (offset of its first byte in the log as it was
written in 8 bytes, its length there in 4, its compressed length in 4; big-endian), then whole frames, compressed.
Offsets stay those of the log as it was written.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from coder_plugins.execution.artifacts.adapters import sync_folder
from coder_plugins.execution.processes.shim import frames
from coder_plugins.execution.processes.shim.frames import Frame

NAME = "log.z"
LEAST = 4_096
"""Bytes of the shortest log that is packed: a shorter one takes as much of the disk either way."""
_BLOCK = 256 * 1024
_HEAD = struct.Struct(">QII")


def pack(folder: Path) -> int:
    """Compress the log of an attempt that has ended; return how many bytes that freed, 0 if it was left as it is.

    The packed one is on disk before the other is taken away. Both have the time of the last output, and the folder
    the one that it had: age is counted by them.
    """
    log, packed = folder / frames.NAME, folder / NAME
    stat, own = log.stat(), folder.stat()
    if stat.st_size < LEAST:
        return 0
    part = folder / f".{NAME}"
    try:
        with part.open("wb") as file:
            for block in _blocks(log):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)  # it is tried again every hour, and fails again if the log is damaged
        raise
    os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    part.replace(packed)
    sync_folder(folder)
    freed = stat.st_size - packed.stat().st_size
    if log.stat().st_size != stat.st_size:  # a child that was left behind wrote on
        packed.unlink()
        return 0
    log.unlink()
    os.utime(folder, ns=(own.st_atime_ns, own.st_mtime_ns))
    return freed


def _blocks(log: Path) -> Iterator[bytes]:
    held, start, end = bytearray(), 0, 0
    for frame in frames.iterate(log):
        held += frames.head(frame.at_ms, frame.stream, len(frame.data)) + frame.data
        end = frame.next
        if len(held) >= _BLOCK:
            yield _block(start, held)
            held, start = bytearray(), end
    if held:
        yield _block(start, held)


def _block(start: int, content: bytearray) -> bytes:
    packed = zlib.compress(content)
    return _HEAD.pack(start, len(content), len(packed)) + packed


def is_packed(folder: Path) -> bool:
    """Tell whether the log of an attempt is a packed one."""
    return (folder / NAME).exists()


def read(folder: Path, offset: int, limit: int) -> tuple[list[Frame], int]:
    """Return frames of a packed log as `frames.read` does of another; none if there is none. Raises as that does."""
    return frames.take(_frames(folder / NAME, offset), offset, limit)


def _frames(path: Path, offset: int) -> Iterator[Frame]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        while head := file.read(_HEAD.size):
            start, length, packed = _HEAD.unpack(head)
            if start + length <= offset:
                file.seek(packed, os.SEEK_CUR)
                continue
            content = zlib.decompress(file.read(packed))
            yield from _in_block(content, start, max(0, offset - start))


def _in_block(content: bytes, start: int, place: int) -> Iterator[Frame]:
    while place < len(content):
        if len(content) - place < frames.HEAD.size:
            raise ValueError(f"no frame begins at byte {start + place}")
        at_ms, stream, size = frames.HEAD.unpack_from(content, place)
        end = place + frames.HEAD.size + size
        if stream not in {frames.STDOUT, frames.STDERR, frames.GAP} or end > len(content):
            raise ValueError(f"no frame begins at byte {start + place}")
        yield Frame(at_ms, stream, content[place + frames.HEAD.size : end], start + end)
        place = end
