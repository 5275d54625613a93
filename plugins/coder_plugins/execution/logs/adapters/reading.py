"""Reading the output of an attempt as text."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime
from pathlib import Path

from coder_local.api import format_instant
from coder_plugins.execution.logs.records import PAGE, Piece
from coder_plugins.execution.processes import GAP, STDERR, read_frames
from coder_plugins.execution.processes.shim.frames import NAME, Frame
from coder_plugins.execution.runs.records import Attempt

from . import packing
from .files import attempt_folder


class Decoder:
    """Turns frames into text; a character that two frames of one stream share is kept until it is whole."""

    def __init__(self, rest: tuple[bytes, bytes] = (b"", b"")) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        self._streams = {True: make("replace"), False: make("replace")}
        for is_error, each in zip((False, True), rest, strict=True):
            self._streams[is_error].setstate((each, 0))

    @property
    def rest(self) -> tuple[bytes, bytes]:
        """Of standard output and error the bytes of a character that is not whole yet."""
        return self._streams[False].getstate()[0], self._streams[True].getstate()[0]

    def piece(self, frame: Frame) -> Piece:
        """Return a frame as it is shown."""
        at = format_instant(datetime.fromtimestamp(frame.at_ms / 1000, UTC))
        if frame.stream == GAP:
            return Piece(at=at, stream="gap", text=f"{frame.dropped} bytes were left out")
        is_error = frame.stream == STDERR
        return Piece(at=at, stream="stderr" if is_error else "stdout", text=self._streams[is_error].decode(frame.data))


def read(folder: Path, offset: int, limit: int = PAGE) -> tuple[list[Frame], int]:
    """Return the frames of an attempt from an offset on, and the offset to go on from.

    Raises ValueError where no frame begins.
    """
    found, after = read_frames(folder / NAME, offset, limit)
    return (found, after) if found else packing.read(folder, offset, limit)


def has_more(folder: Path, offset: int) -> bool:
    """Tell whether an attempt may have frames from an offset on; costs one look at the file, and reads nothing."""
    try:
        return (folder / NAME).stat().st_size > offset
    except OSError:
        return packing.is_packed(folder)


def pieces(folder: Path, attempt: Attempt, offset: int, limit: int) -> tuple[list[Piece], int]:
    """Return output of an attempt from an offset on as text, and the offset to go on from. Raises as `read` does."""
    frames, after = read(attempt_folder(folder, attempt.run, attempt.key, attempt.n), offset, limit)
    decoder = Decoder()
    return [decoder.piece(frame) for frame in frames], after
