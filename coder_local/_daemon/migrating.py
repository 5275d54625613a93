"""Telling those who wait what they wait for, while a migration runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from coder_local._registry.dispatch import void
from coder_local._registry.kernel import Kernel
from coder_local._store.migrations import MigrationError
from coder_local.api import Locked

_TELL_EVERY = 0.5
"""Seconds between two reports to calls that wait."""
_QUIET = 1.0
"""Seconds of a plugin's migrations of which nobody is told: the first tables of a new one are made in less."""
PATIENCE = 30.0
"""Seconds that a call waits for a migration; then it is told to come back."""
_COME_BACK_MS = 1000


class Reporter:
    """Reports a migration to the calls that are held, from its first step to its end."""

    def __init__(self, kernel: Kernel, post: Callable[[Callable[[], None]], object]) -> None:
        self._kernel = kernel
        self._timer: asyncio.TimerHandle | None = None
        self._progress = kernel.store.airlock.progress
        self._progress.began = lambda: void(post(self._begin))

    def begin(self) -> None:
        """Report what was begun before there was a loop to report on."""
        if self._progress.current is not None:
            self._begin()

    def stop(self) -> None:
        """Have the migration taken back, as soon as SQLite looks up from its work."""
        self._progress.stopping = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        if self._timer is None:
            self._kernel.dispatcher.at_work += 1  # no daemon stops in the middle for want of clients
            self._tell()

    def _tell(self) -> None:
        step = self._progress.current
        if step is None:
            self._timer = None
            self._kernel.dispatcher.at_work -= 1
            return
        if time.monotonic() - step.since >= _QUIET:
            self._kernel.dispatcher.tell_held(step.words)
        self._kernel.dispatcher.refuse_held(_come_back(step.words), PATIENCE)
        self._timer = asyncio.get_running_loop().call_later(_TELL_EVERY, self._tell)


def failed(error: MigrationError) -> Locked:
    """Return the answer to the calls that waited for a migration of the core's own tables."""
    return Locked(
        f"the data could not be brought up to date and is as it was: {error.message}",
        hint=error.hint or "install the version that wrote it",
    )


def _come_back(words: str) -> Locked:
    return Locked(
        f"the data is being brought up to date: {words}",
        hint="call again later; daemon.status tells how far it is",
        data={"retry_after_ms": _COME_BACK_MS},
    )
