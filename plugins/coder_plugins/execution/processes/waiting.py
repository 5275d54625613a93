"""Waiting for the end of processes that need not be children of this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Collection
from typing import TypeVar

from .shim import identity
from .shim.identity import Identity

_FIRST_POLL = 0.005
_LAST_POLL = 0.2


T = TypeVar("T")


async def unbroken(work: Awaitable[T]) -> tuple[T, bool]:
    """Carry something to its end though the caller is cancelled; return what came of it, and whether he was."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    return task.result(), cancelled


async def wait_ended(processes: Collection[Identity], limit: float | None = None) -> bool:
    """Wait until all of some processes have ended, at most `limit` seconds; return whether they have.

    A zombie has ended. Exact and without polling where the kernel has pidfds; else it looks every 0.2 s.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, NotImplementedError):  # no pidfds, or no descriptor left for one
            return await _wait_pidfds(processes, limit)
    return await _poll(processes, limit)


if sys.platform == "linux":

    async def _wait_pidfds(processes: Collection[Identity], limit: float | None) -> bool:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as opened:
            ends: list[asyncio.Future[None]] = []
            for process in processes:
                try:
                    descriptor = os.pidfd_open(process.pid)
                except ProcessLookupError:
                    continue
                opened.callback(os.close, descriptor)
                if not identity.is_alive(process):  # looked at after the opening: the id may have been another's
                    continue
                end: asyncio.Future[None] = loop.create_future()
                loop.add_reader(descriptor, _resolve, end)
                opened.callback(loop.remove_reader, descriptor)
                ends.append(end)
            if not ends:
                return True
            return not (await asyncio.wait(ends, timeout=limit))[1]

    def _resolve(end: asyncio.Future[None]) -> None:
        if not end.done():  # a pidfd stays readable, and the loop may look once more before it is let go
            end.set_result(None)


async def _poll(processes: Collection[Identity], limit: float | None) -> bool:
    loop = asyncio.get_running_loop()
    deadline = None if limit is None else loop.time() + limit
    pause = _FIRST_POLL
    while any(identity.is_alive(process) for process in processes):
        if deadline is not None and loop.time() >= deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LAST_POLL)
    return True
