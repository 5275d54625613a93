"""Kills cures of data wherever they have written: run as `python -m tests.daemon.repair.killed_at_work PREPARED WORK`.

A step is a statement of SQL that writes; the rest is as `tests.store.killed` has it. Prints how many kills there were.
"""

from __future__ import annotations

import sys
from pathlib import Path

from coder_local._daemon.core import doctor
from coder_local._daemon.repair.finding import Problem
from coder_local._daemon.repair.references import declared
from coder_local._registry.kernel import Kernel
from tests.daemon.core.test_repair import shelf
from tests.store.killed import kill_everywhere


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


def main(prepared: Path, work: Path) -> None:
    def whole(folder: Path) -> None:
        kernel = opened(folder)
        mend(kernel)
        kernel.store.close()

    print(kill_everywhere(prepared, work, whole))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
