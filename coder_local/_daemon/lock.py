"""One daemon per data directory: an OS lock, which the system takes back even from a process that was killed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_HELD = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
"""What POSIX and Windows say of a lock that another process has."""


class Lock:
    """An exclusive lock on a file of the data directory."""

    def __init__(self, folder: Path, name: str = "daemon.lock") -> None:
        self._path = folder / name
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock; False if another process holds it. Raises `OSError` where the file system has no locks."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(file)
        except OSError as error:
            os.close(file)
            if error.errno in _HELD:
                return False
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; the file stays, or two processes could hold locks on different files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def successor(folder: Path) -> Lock:
    """Return the lock that a daemon holds from the moment it asks the old one to go until it answers itself.

    Without it whoever starts a daemon in between, of the old build perhaps, would be the one that follows.
    """
    return Lock(folder, "handover.lock")


def take_between(lock: Lock, turn: Lock) -> bool:
    """Take the lock of the daemon, but not out of the hands of one that waits for it as the old one's successor."""
    if not lock.take():
        return False
    if not turn.take():
        lock.release()
        return False
    turn.release()
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
