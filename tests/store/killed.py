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
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._store import airlock, backup, store

READS = ("SELECT", "PRAGMA", "--")
Steps = Callable[[Callable[[int], None]], None]
"""Has a function called before each step of this process, with its number."""


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


def ran(work: Callable[[], None], act: Callable[[int], None], steps: Steps = at_steps) -> int:
    """Work in a process of its own, and return how it ended: minus the number of the signal, or the exit code."""
    child = os.fork()
    if child == 0:
        steps(act)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_everywhere(prepared: Path, work: Path, do: Callable[[Path], None], steps: Steps = at_steps) -> int:
    """Do something with a copy of a data directory, `WORK/whole`, and kill it at each step on others, `WORK/1` and on.

    Returns how many kills there were.
    """
    noted, whole = work / "steps", work / "whole"
    shutil.copytree(prepared, whole)
    assert ran(partial(do, whole), changes(whole, noted), steps) == 0
    numbers = [int(line) for line in noted.read_text().split()]
    for place, number in enumerate(numbers, 1):
        folder = work / str(place)
        shutil.copytree(prepared, folder)
        assert ran(partial(do, folder), kill_at(number), steps) == -signal.SIGKILL
    return len(numbers)


def main(prepared: Path, work: Path, core: Path) -> None:
    importlib.import_module("sqlite_utils")  # once, not in every child
    print(kill_everywhere(prepared, work, lambda folder: start(folder, core)[0].store.close()))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
