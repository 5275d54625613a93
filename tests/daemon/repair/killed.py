"""Kills a repair wherever it has moved files: run as `python -m tests.daemon.repair.killed REPAIR PREPARED WORK`.

A step is a line of what exchanges a database, each time that it runs. A first repair notes before which of them the
disk had changed; between others a kill leaves the same. Then, for each, one is killed there, in a process of
its own on a copy of the data directory: `WORK/1` and so on, the last one ends. Prints how many there were.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from coder_local._daemon.repair import offline, salvaging
from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._store import backup, exchange
from tests.store.killed import kill_everywhere

FILES = {exchange.__file__, salvaging.__file__}


def salvage(folder: Path) -> None:
    """Put what can be read of the database in use in its place."""
    with offline.Held(folder):
        salvaging.put_in_place(folder, salvaging.to_salvage(folder))


def restore(folder: Path) -> None:
    """Restore the newest snapshot over a database that is too damaged to be copied."""
    with offline.Held(folder):
        backup.restore(backup.snapshots(folder / "snapshots")[0], folder / "coder-local.db", folder / "replaced", "now")


REPAIRS: dict[str, Callable[[Path], None]] = {"salvage": salvage, "restore": restore}


def at_steps(act: Callable[[int], None]) -> None:
    """Have a function called before each step of this process, with its number; the first is 1."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal steps
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            steps += 1
            act(steps)
        return trace

    sys.settrace(trace)


def main(repair: str, prepared: Path, work: Path) -> None:
    Kernel().load(plugins.bundled())  # imported once, not in every child
    last = kill_everywhere(prepared, work, REPAIRS[repair], at_steps) + 1
    (work / "whole").rename(work / str(last))
    print(last)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
