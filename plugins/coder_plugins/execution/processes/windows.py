"""The daemon's side on Windows: a shim process for each command, and the ladder over its job. Not run there yet."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coder_ipc import program

if TYPE_CHECKING:
    from .child import Child

_KEPT = ("SYSTEMROOT", "TEMP", "TMP")
_KILL_LIMIT = 5.0
_LOOK = 0.05

if sys.platform == "win32":
    from .shim.jobs import Job

    class Link:
        """The standard streams of the shim of one command."""

        def __init__(self, shim: asyncio.subprocess.Process) -> None:
            self._shim = shim

        async def hear(self) -> dict[str, Any] | None:
            """Return the shim's next message, None when the shim has ended."""
            if self._shim.stdout is None or not (line := await self._shim.stdout.readline()):
                return None
            message: dict[str, Any] = json.loads(line)
            return message

        def interrupt(self) -> None:
            """Have the shim send Ctrl-Break: only a process at the same console can."""
            if self._shim.stdin is not None:
                self._shim.stdin.write(b"break\n")

        def close(self) -> None:
            """Let go of the shim: to it, the daemon is gone."""
            if self._shim.stdin is not None:
                self._shim.stdin.close()

    async def warm() -> None:
        """Do nothing: there is no fork to prepare."""

    async def open_link(spec: bytes) -> Link:
        """Start a shim, out of the daemon's console and job, and hand it the specification."""
        flags = subprocess.CREATE_NO_WINDOW
        try:
            shim = await _start_shim(flags | subprocess.CREATE_BREAKAWAY_FROM_JOB)
        except PermissionError:  # the job of the daemon lets nobody out: its end will be the command's too
            shim = await _start_shim(flags)
        if shim.stdin is not None:
            shim.stdin.write(spec)
            await shim.stdin.drain()
        return Link(shim)

    async def _start_shim(flags: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *program.inner(str(Path(__file__).parent), "shim.windows"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name.upper() in _KEPT},
            creationflags=flags,
        )

    async def climb(child: Child, grace: float) -> tuple[int, ...]:
        """Send Ctrl-Break, wait `grace` seconds, end the job; return the ids of the processes that are left in it.

        A command of an earlier daemon gets no Ctrl-Break: nobody is at its console any more who could be asked.
        """
        job = Job.open(child.mark)
        if job is None:
            return ()
        loop = asyncio.get_running_loop()
        try:
            deadline = loop.time() + grace
            if grace > 0 and child.interrupt():
                while job.pids() and loop.time() < deadline:
                    await asyncio.sleep(_LOOK)
            deadline = loop.time() + _KILL_LIMIT
            while (left := job.pids()) and loop.time() < deadline:
                job.terminate()
                await asyncio.sleep(_LOOK)
            return tuple(left)
        finally:
            job.close()
