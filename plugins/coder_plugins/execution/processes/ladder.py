"""The ladder of signals that ends a command with all its processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from .shim import identity, members, records
from .waiting import wait_ended

if TYPE_CHECKING:
    from .child import Child
    from .shim.identity import Identity

_KILL_LIMIT = 5.0  # seconds after which a process that SIGKILL did not end is reported
_KILL_LOOK = 0.25


async def look(child: Child) -> set[Identity]:
    """Return the living processes of a command. In a thread: it reads something of every process of the machine."""
    keeper = child.shim.pid if identity.is_alive(child.shim) else None
    found = await asyncio.to_thread(members.find, child.identity, child.mark, keeper)
    if keeper is not None and _is_free(child):  # asked after the look: until then it was this command's shim
        found = await asyncio.to_thread(members.find, child.identity, child.mark)
    return found


def _is_free(child: Child) -> bool:
    """Tell whether the shim may be another command's by now: one that was left with nothing serves again."""
    ended = records.read(str(child.folder), records.EXIT)
    return ended is not None and not ended.get("left")


if sys.platform != "win32":

    async def climb(child: Child, grace: float) -> tuple[int, ...]:
        """Send SIGINT, SIGTERM and SIGKILL until no process is left; return the ids of those that are.

        Three quarters of `grace` (seconds) pass after SIGINT and the rest after SIGTERM; a step ends as soon as
        nobody is left. Every step looks anew, because a process may have been forked since.
        """
        for number, seconds in ((signal.SIGINT, grace * 0.75), (signal.SIGTERM, grace * 0.25)):
            if seconds > 0 and await _try(child, number, seconds):
                return ()
        deadline = asyncio.get_running_loop().time() + _KILL_LIMIT
        while found := await look(child):
            if asyncio.get_running_loop().time() >= deadline:
                return tuple(sorted(process.pid for process in found))
            members.send(child.identity, found, signal.SIGKILL)
            await wait_ended(found, _KILL_LOOK)
        return ()

    async def _try(child: Child, number: int, seconds: float) -> bool:
        """Send one signal and wait; return whether all processes have ended."""
        found = await look(child)
        members.send(child.identity, found, number)
        deadline = asyncio.get_running_loop().time() + seconds
        while found:
            if not await wait_ended(found, max(0.0, deadline - asyncio.get_running_loop().time())):
                return False
            found = await look(child)
        return True
