"""The two small files beside the log: that a command was begun, and how it ended."""

from __future__ import annotations

import json
import os
import time
from typing import Any, cast

from .identity import Identity

START = "start.json"
EXIT = "exit.json"
FORBIDDEN = "forbidden"
"""In the place of a start record: its command must not begin any more."""


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def describe_start(leader: Identity, shim: Identity, policy: str, mark: str) -> dict[str, Any]:
    """Return the start record of a command."""
    return {
        "pid": leader.pid,
        "started": leader.started,
        "boot": leader.boot,
        "shim_pid": shim.pid,
        "shim_started": shim.started,
        "on_daemon_death": policy,
        "mark": mark,
        "started_at_ms": now_ms(),
    }


def exists(folder: str) -> bool:
    """Tell whether a folder has the start record or the exit record of an attempt, readable or not."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (START, EXIT))  # noqa: PTH110, PTH118 (as below)


def create(folder: str, name: str, record: dict[str, Any]) -> None:
    """Write a record where there is none yet, in one write. Raises FileExistsError where there is one."""
    file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # noqa: PTH118 (as below)
    try:
        os.write(file, json.dumps(record).encode("ascii"))
    finally:
        os.close(file)


def forbid(folder: str) -> bool:
    """Keep a command that has not begun from beginning; False if it has begun meanwhile."""
    try:
        create(folder, START, {FORBIDDEN: True})
    except FileExistsError:
        return False
    except FileNotFoundError:
        return True  # a shim is told of a folder that is there
    return True


def write(folder: str, name: str, record: dict[str, Any]) -> int:
    """Put a record in its place in one step, and return its open file: `sync` makes it last.

    The file is named before it is on the disk, so that nobody waits for the disk. After a power cut it may be empty
    or gone; `read` takes both for no record.
    """
    draft = os.path.join(folder, f".{name}.tmp")  # noqa: PTH118 (pathlib is slow to import)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, json.dumps(record).encode("ascii"))
        os.replace(draft, os.path.join(folder, name))  # noqa: PTH105, PTH118 (pathlib is slow to import)
    except BaseException:
        os.close(file)
        raise
    return file


def sync(file: int) -> None:
    """Make a written record last, and close it."""
    try:
        os.fsync(file)
    finally:
        os.close(file)


def read(folder: str, name: str) -> dict[str, Any] | None:
    """Return a record, None when there is none or only what a power cut left of it."""
    try:
        with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123 (pathlib is slow to import)
            found: Any = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
