"""Kills cures of data wherever they have written: run as `python -m tests.daemon.repair.killed_at_work PREPARED WORK`.

A step is a statement of SQL that writes; the rest is as `tests.store.killed` has it. Prints how many kills there were.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from coder_local._daemon.core import doctor
from coder_local._daemon.repair.finding import Problem
from coder_local._daemon.repair.references import declared
from coder_local._registry.kernel import Kernel
from tests.daemon.core.test_repair import shelf
from tests.store.killed import at_steps, changes, kill_at


def opened(folder: Path) -> Kernel:
    """Return a kernel with books on shelves, whose writer works on the calling thread."""
    kernel = Kernel(folder)
    kernel.take(shelf())
    kernel.open()
    return kernel


def problems(kernel: Kernel) -> list[Problem]:
    """Return what is wrong with tables and references and can be mended."""
    tables, named = kernel.registry.tables.all(), declared(kernel.registry)
    found = doctor.problems(kernel, tables, named, [], "person")
    return [each for each in found if each.mend is not None and each.finding.check in {"tables", "references"}]


def mend(kernel: Kernel) -> None:
    """Mend all of it, looking again as long as there is something: an index comes after its column."""
    while found := problems(kernel):
        for each in found:
            assert each.mend is not None
            each.mend()


def ran(folder: Path, act: Callable[[int], None]) -> int:
    """Mend in a process of its own, and return how it ended: minus the number of the signal, or the exit code."""
    child = os.fork()
    if child == 0:
        at_steps(act)
        kernel = opened(folder)
        mend(kernel)
        kernel.store.close()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(prepared: Path, work: Path) -> None:
    noted, whole = work / "steps", work / "whole"
    shutil.copytree(prepared, whole)
    assert ran(whole, changes(whole, noted)) == 0
    steps = [int(line) for line in noted.read_text().split()]
    for place, step in enumerate(steps, 1):
        shutil.copytree(prepared, work / str(place))
        assert ran(work / str(place), kill_at(step)) == -signal.SIGKILL
    print(len(steps))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
