"""Files by the hash of their content, below the plugin's folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from coder_local.api import NotFound


def place(folder: Path, sha256: str) -> Path:
    """Return where a content is kept."""
    return folder / "blobs" / sha256[:2] / sha256


def put(folder: Path, content: bytes) -> str:
    """Keep a content, unless it is there, and return its hash; it is on disk, whole, when this returns."""
    sha256 = hashlib.sha256(content).hexdigest()
    target = place(folder, sha256)
    with contextlib.suppress(FileNotFoundError):
        os.utime(target)  # it is in use again, so retention must not take it away as old; one that it took is not made
        return sha256
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{sha256}.{os.getpid()}.{id(content)}")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    sync_folder(target.parent)
    return sha256


def get(folder: Path, sha256: str, offset: int, limit: int) -> bytes:
    """Return at most `limit` bytes of a content, all with -1. Raises `NotFound` if it is not kept any more."""
    try:
        with place(folder, sha256).open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        raise NotFound(
            f"the content {sha256} is not kept any more",
            hint="it was older than execution.keep_days, or over execution.keep_mb; run the step again",
        ) from None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where the system can; a file that was renamed is there after a power cut."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and writes names with the file
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
