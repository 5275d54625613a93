"""Writing `runtime.json`: where the daemon is, readable by its owner alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from coder_ipc import IpcError, runtime

_log = logging.getLogger("coder_local.daemon")


class Published:
    """The file of a daemon that runs, which is put back when others cut it off, replaced it or deleted it.

    Without it nobody finds the daemon, and the lock keeps everybody from starting another.
    """

    def __init__(self, folder: Path, found: runtime.Runtime) -> None:
        """Take the file that was just written."""
        self._folder = folder
        self._found = found
        self._told = ""
        self._known = self._seen()

    def look(self) -> None:
        """Put the file back if it does not name this daemon any more; the lock of the data directory is held."""
        seen = self._seen()
        if seen == self._known:
            return
        try:
            now = runtime.read(self._folder)
            if now is not None and now.incarnation == self._found.incarnation:
                self._known = seen
                return
            write(self._folder, self._found)
        except (OSError, IpcError) as error:
            if self._told != str(error):  # once, not at each look
                self._told = str(error)
                _log.error("another program changed %s, and it cannot be put back: %s", runtime.RUNTIME_FILE, error)
            return
        self._known, self._told = self._seen(), ""
        _log.warning("another program changed %s; it was put back", runtime.RUNTIME_FILE)

    def _seen(self) -> tuple[int, int, int] | None:
        try:
            found = (self._folder / runtime.RUNTIME_FILE).lstat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def write(folder: Path, found: runtime.Runtime) -> None:
    """Write the file whole or not at all, 0600."""
    part = folder / f".{runtime.RUNTIME_FILE}.{os.getpid()}"
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(found._asdict()), indent=1) + b"\n")
        part.replace(folder / runtime.RUNTIME_FILE)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def remove(folder: Path, incarnation: str) -> None:
    """Remove the file if it is still ours."""
    found = runtime.read(folder)
    if found is not None and found.incarnation == incarnation:
        (folder / runtime.RUNTIME_FILE).unlink(missing_ok=True)
