"""Writing `runtime.json`: where the daemon is, readable by its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from coder_ipc import runtime


def write(folder: Path, found: runtime.Runtime) -> None:
    """Write the file whole or not at all, 0600."""
    part = folder / f".{runtime.RUNTIME_FILE}.{os.getpid()}"
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(found._asdict()), indent=1) + b"\n")
    part.replace(folder / runtime.RUNTIME_FILE)


def remove(folder: Path, incarnation: str) -> None:
    """Remove the file if it is still ours."""
    found = runtime.read(folder)
    if found is not None and found.incarnation == incarnation:
        (folder / runtime.RUNTIME_FILE).unlink(missing_ok=True)
