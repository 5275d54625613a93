"""Kills a start wherever it has written something: run as `python -m tests.store.killed PREPARED WORK CORE`.

A step is a statement of SQL that writes, or a line of what writes snapshots, when it runs for the first time: nothing
else changes a file. A first start notes before which of them the disk had changed; between others a kill leaves the
same. Then, for each, one is killed there, in a process of its own on a copy of the data directory, `WORK/1` and so on.
Prints how many there were.
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


def at_steps(act: Callable[[int], None]) -> None:
    """Have a function called before each step of this process, with its number."""
    steps = 0
    seen: set[tuple[str, int]] = set()

    def step() -> None:
        nonlocal steps
        steps += 1
        act(steps)

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


def changes(folder: Path, noted: Path) -> Callable[[int], None]:
    """Note the number of each step before which something was written to the disk since the step before."""
    last: set[tuple[str, bytes]] = set()

    def look(number: int) -> None:
        nonlocal last
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".db-shm"}]
        now = {(str(path.relative_to(folder)), path.read_bytes()) for path in files}
        if now != last:
            with noted.open("a") as file:
                print(number, file=file)
        last = now

    return look


def kill_at(wanted: int) -> Callable[[int], None]:
    """Have this process killed at a step."""

    def look(number: int) -> None:
        if number == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return look


def ran(data_dir: Path, core: Path, act: Callable[[int], None]) -> int:
    """Start in a process of its own, and return how it ended: minus the number of the signal, or the exit code."""
    child = os.fork()
    if child == 0:
        at_steps(act)
        start(data_dir, core)[0].store.close()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(prepared: Path, work: Path, core: Path) -> None:
    importlib.import_module("sqlite_utils")  # once, not in every child
    noted, whole = work / "steps", work / "whole"
    shutil.copytree(prepared, whole)
    assert ran(whole, core, changes(whole, noted)) == 0
    steps = [int(line) for line in noted.read_text().split()]
    for place, step in enumerate(steps, 1):
        shutil.copytree(prepared, work / str(place))
        assert ran(work / str(place), core, kill_at(step)) == -signal.SIGKILL
    print(len(steps))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
