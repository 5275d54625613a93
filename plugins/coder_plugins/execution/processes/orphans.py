"""Programs of attempts that have ended, or that the database does not know: they run on, and nobody follows them.

A program may leave something running on purpose, a server say, so none is ended unless a person asks for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from coder_local.api import Broken, Snapshot, Symptom
from coder_plugins.execution.logs.adapters.files import attempt_folder

from .child import Child
from .shim import members, records

_GRACE = 5.0
_OPEN = "SELECT run, key, n FROM execution_attempts WHERE state IN ('intent', 'started') AND deleted_at IS NULL"


def look(read: Snapshot, folder: Path) -> Iterator[Symptom]:
    """Yield a symptom for each command of this data directory that has processes, and no attempt that is open."""
    marks = _marks()
    if not marks:
        return
    followed = {attempt_folder(folder, run, key, n) for run, key, n in read.rows(_OPEN)}
    for path in sorted(folder.rglob(records.START)):
        start = records.read(str(path.parent), records.START)
        # the check after a crash has a folder of its own inside of the attempt's
        if (
            start is None
            or start.get("mark") not in marks
            or not followed.isdisjoint({path.parent, path.parent.parent})
        ):
            continue
        if "pid" not in start:
            continue  # its shim was killed in the moment of the start; the engine judges it
        child = Child(path.parent, start)
        found = members.find(child.identity, child.mark)
        if found:
            pids = ", ".join(str(each.pid) for each in sorted(found))
            yield Symptom(
                f"{len(found)} processes of an attempt that has ended run on: {pids}",
                hint=f"leave them if they are meant to; the attempt is in {path.parent}",
                fix=f"end the {len(found)} processes",
                mend=_ending(child),
            )


def _ending(child: Child) -> Callable[[], str]:
    def mend() -> str:
        ended = asyncio.run(child.stop(_GRACE))
        if ended.survivors:
            raise Broken(f"these did not end: {', '.join(map(str, ended.survivors))}")
        return "they have ended"

    return mend


if sys.platform == "linux":

    def _marks() -> set[str]:
        """Return the marks of all processes of this user that have one."""
        start = f"{members.MARK}=".encode()
        found: set[str] = set()
        for name in os.listdir("/proc"):  # noqa: PTH208 (many, and only their names)
            if not name.isdigit():
                continue
            try:
                content = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue  # ended, or another user's
            if start in content:
                found |= {part[len(start) :].decode() for part in content.split(b"\0") if part.startswith(start)}
        return found

else:

    def _marks() -> set[str]:
        """Return the marks of all processes of this user that have one."""
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 (slow to import)

        found: set[str] = set()
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(members.MARK)
            except (psutil.Error, OSError):
                continue  # ended, or another user's
            if mark:
                found.add(mark)
        return found
