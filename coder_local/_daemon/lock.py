"""One daemon per data directory: an OS lock, which the system takes back even from a process that was killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class Lock:
    """An exclusive lock on a file of the data directory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "daemon.lock"
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock; False if another process holds it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(file)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; the file stays, or two processes could hold locks on different files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
