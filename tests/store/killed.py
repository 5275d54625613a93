"""Kills a start at its n-th step, for every n: run as `python -m tests.store.killed PREPARED WORK CORE`.

A step is a statement of SQL that writes, or a line of what writes snapshots, when it runs for the first time: nothing
else changes a file. Each start is a process of its own on a copy of the data directory, `WORK/n`; the last one comes
through. Prints how many there were.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._store import airlock, backup, store

READS = ("SELECT", "PRAGMA", "--")


def start(data_dir: Path, core: Path) -> tuple[Kernel, Plugin]:
    """Open a data directory with its plugin `things` and one more migration of the core."""
    known = airlock.CORE.files
    if core not in known:
        airlock.CORE = airlock.CORE._replace(files=(*known, core))
    kernel = Kernel(data_dir)
    plugin = Plugin("things", Source.FOLDER, str(data_dir / "plugins" / "things"))
    kernel.load([plugin])
    kernel.open()
    return kernel, plugin


def kill_at(number: int) -> None:
    """Have this process killed at a step."""
    steps = 0
    seen: set[tuple[str, int]] = set()

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place[0] != backup.__file__:
            return None
        if event == "line" and place not in seen:
            seen.add(place)
            step()
        return trace

    opened = store.open_writer

    def open_writer(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        connection.set_trace_callback(lambda sql: None if sql.upper().startswith(READS) else step())
        return connection

    store.open_writer = open_writer  # type: ignore[attr-defined]
    sys.settrace(trace)


def main(prepared: Path, work: Path, core: Path) -> None:
    importlib.import_module("sqlite_utils")  # once, not in every child

    number = 0
    while True:
        number += 1
        data_dir = work / str(number)
        shutil.copytree(prepared, data_dir)
        child = os.fork()
        if child == 0:
            kill_at(number)
            start(data_dir, core)[0].store.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(number if os.waitstatus_to_exitcode(status) == 0 else f"failed at {number}")  # noqa: T201 - the answer
            return


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
