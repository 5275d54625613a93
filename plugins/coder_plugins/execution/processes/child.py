"""A command that was begun: waiting for its end, and bringing it about."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .shim import identity, records
from .shim.identity import Identity
from .waiting import unbroken, wait_ended

if sys.platform == "win32":
    from .windows import climb
else:
    from .ladder import climb

_FIRST_POLL = 0.005
_LAST_POLL = 0.2
_RECORD_WAIT = 30.0


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended: with an exit code, by a signal, or `lost`, when nobody saw it.

    `left` says that processes of the command were still there at its end: `stop` ends them too. `survivors` are the ids
    of processes that did not die of SIGKILL within 5 s of `stop`: the system holds them.
    """

    code: int | None = None
    signal: int | None = None
    lost: bool = False
    left: bool = False
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    survivors: tuple[int, ...] = ()


class Link(Protocol):
    """The way to the shim of a command that this daemon started."""

    async def hear(self) -> dict[str, Any] | None:
        """Return the shim's next message, None when the shim has ended."""
        ...

    def interrupt(self) -> None:
        """Have the shim ask the command to end, where the daemon itself cannot."""
        ...

    def close(self) -> None:
        """Let go of the shim."""
        ...


class Child:
    """A command that was begun, by this daemon (`link`) or by one before it.

    `mark` is the value of `CODER_LOCAL_ATTEMPT` in its environment.
    """

    def __init__(self, folder: Path, start: dict[str, Any], link: Link | None = None) -> None:
        self.folder = folder
        self.identity = Identity(start["pid"], start["started"], start["boot"])
        self.shim = Identity(start["shim_pid"], start["shim_started"], start["boot"])
        self.mark: str = start["mark"]
        self.started_at_ms: int = start["started_at_ms"]
        self._link = link
        self._ladders: set[asyncio.Task[tuple[int, ...]]] = set()
        self._watch: asyncio.Task[Exit] | None = None

    @property
    def pid(self) -> int:
        """Return the process id, which is also that of its group and its session on POSIX."""
        return self.identity.pid

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, folder={str(self.folder)!r})"

    async def wait(self) -> Exit:
        """Wait until the command has ended; any number may wait, and giving up waiting changes nothing.

        Processes that it left behind may run on: `stop` ends them.
        """
        if self._watch is None:
            self._watch = asyncio.create_task(self._learn_end(), name=f"end of process {self.pid}")
        return await asyncio.shield(self._watch)

    async def detach(self) -> None:
        """Let go of the command: it goes on when it is of the kind that is adopted, and is killed when it is not."""
        if self._watch is not None and not self._watch.done():
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self._watch = None
        self._close()

    async def stop(self, grace: float = 10.0) -> Exit:
        """End the command and all that belongs to it, and return when every process is verified gone.

        `grace` in seconds is for those that mind a signal: three quarters of it after SIGINT, the rest after SIGTERM,
        then SIGKILL; 0 kills at once. A second call with less grace overtakes the first. Cancelling the caller does
        not cut it short: the cancellation is raised when the processes are gone.
        """
        ladder = asyncio.create_task(climb(self, grace), name=f"stop of process {self.pid}")
        self._ladders.add(ladder)
        ladder.add_done_callback(self._ladders.discard)
        survivors, cancelled = await unbroken(ladder)
        if cancelled:
            raise asyncio.CancelledError
        if survivors:
            return Exit(lost=True, started_at_ms=self.started_at_ms, survivors=survivors)
        return await self.wait()

    def interrupt(self) -> bool:
        """Have the shim ask the command to end; False when this daemon has no way to the shim. For Windows."""
        if self._link is None:
            return False
        self._link.interrupt()
        return True

    async def _learn_end(self) -> Exit:
        if self._link is not None:
            message = await self._link.hear()
            self._close()
            if message is not None:
                return msgspec.convert(message["ended"], Exit)
        await wait_ended({self.identity})
        return await self._read_end()

    async def _read_end(self) -> Exit:
        """Return the exit record of a process that has ended: its shim writes it a moment later, if there is one."""
        deadline = asyncio.get_running_loop().time() + _RECORD_WAIT
        pause = _FIRST_POLL
        while True:
            alive = identity.is_alive(self.shim)  # asked first: what it wrote before its end is seen by the next line
            found = records.read(str(self.folder), records.EXIT)
            if found is not None:
                return msgspec.convert(found, Exit)
            if not alive or asyncio.get_running_loop().time() > deadline:
                return Exit(lost=True, started_at_ms=self.started_at_ms)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_POLL)

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
