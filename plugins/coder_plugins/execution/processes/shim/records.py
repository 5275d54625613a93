"""The two small files beside the log: that a command was begun, and how it ended."""

from __future__ import annotations

import contextlib
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


def describe_start(shim: Identity, policy: str, mark: str) -> dict[str, Any]:
    """Return the start record of a command that is about to be begun: which process it will be is not known yet."""
    return {
        "boot": shim.boot,
        "shim_pid": shim.pid,
        "shim_started": shim.started,
        "on_daemon_death": policy,
        "mark": mark,
        "started_at_ms": now_ms(),
    }


def describe_leader(leader: Identity) -> dict[str, Any]:
    """Return what is added to the start record when the command runs."""
    return {"pid": leader.pid, "started": leader.started}


def exists(folder: str) -> bool:
    """Tell whether a folder has the start record or the exit record of an attempt, readable or not."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (START, EXIT))  # noqa: PTH110, PTH118 (as below)


def create(folder: str, name: str, record: dict[str, Any]) -> int:
    """Write a record where there is none yet, in one write, and return its open file, for `add`.

    Raises FileExistsError where there is one.
    """
    path = os.path.join(folder, name)  # noqa: PTH118 (as below)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, json.dumps(record).encode("ascii") + b"\n")
    except BaseException:
        os.close(file)
        os.unlink(path)  # noqa: PTH108 (as below)
        raise
    return file


def add(file: int, more: dict[str, Any]) -> None:
    """Add to a record that was just created, and close it. A full disk is no fault: `read` returns what is there."""
    try:
        with contextlib.suppress(OSError):
            os.write(file, json.dumps(more).encode("ascii") + b"\n")
    finally:
        os.close(file)


def forbid(folder: str) -> bool:
    """Keep a command that has not begun from beginning; False if it has begun meanwhile."""
    try:
        os.close(create(folder, START, {FORBIDDEN: True}))
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
    """Return a record with what was added to it, None when there is none or only what a power cut left of it."""
    try:
        with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123 (pathlib is slow to import)
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    whole: dict[str, Any] = {}
    for line in lines:
        try:
            found: Any = json.loads(line)
        except ValueError:
            break
        if not isinstance(found, dict):
            break
        whole |= cast("dict[str, Any]", found)
    return whole or None
