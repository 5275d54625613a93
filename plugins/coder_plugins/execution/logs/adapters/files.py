"""Where the files of an attempt are, and writing its output."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from coder_plugins.execution.processes.shim import frames

LIMIT = 64 * 1024 * 1024
"""Bytes of output kept of an attempt that writes by itself."""


def run_folder(folder: Path, run: str) -> Path:
    """Return the folder of a run, below that of the plugin; runs of one day stand together."""
    return folder / "runs" / run[:8] / run


def attempt_folder(folder: Path, run: str, key: str, n: int) -> Path:
    """Return the folder of an attempt. A key may hold what no file name may, so the folder is called by its hash."""
    return run_folder(folder, run) / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}-{n}"


def output_bytes(folder: Path) -> int:
    """Return how many bytes of output the log of an attempt has; reads the heads of its frames only."""
    found = 0
    with contextlib.suppress(FileNotFoundError), (folder / frames.NAME).open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while len(start := file.read(frames.HEAD.size)) == frames.HEAD.size:
            _, stream, size = frames.HEAD.unpack(start)
            if file.seek(size, os.SEEK_CUR) > end:
                break  # half a frame, whose writer was killed at it
            found += size if stream != frames.GAP else 0
    return found


class LogWriter:
    """Adds frames to the log of an attempt whose kind runs inside the daemon."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / frames.NAME).open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, stream: int, text: str, masked: Sequence[str]) -> None:
        """Write a text, with secret values masked; beyond the limit nothing."""
        for value in sorted(filter(None, masked), key=len, reverse=True):
            text = text.replace(value, "***")
        data = text.encode("utf-8", "replace")
        for start in range(0, len(data), frames.LONGEST):
            piece = data[start : start + frames.LONGEST]
            if self._size + len(piece) > LIMIT:
                return
            self._size += self._file.write(frames.head(time.time_ns() // 1_000_000, stream, len(piece)) + piece)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
