"""Watching from outside the loop: the parent process, the end of standard input, and a loop that does not come round.

On native threads, because a busy loop would miss all three.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

from coder_ipc import process
from coder_local._registry.plugins import Plugin
from coder_local._registry.troubles import Troubles

from .main import EXIT_BROKEN

_log = logging.getLogger("coder_local.watch")
LATE = 1.0
"""Seconds after which a loop or a command counts as blocked."""
_PARENT_WAIT = 3600.0
HUNG = 30
"""Seconds after which a process that nobody waits for any more ends itself, whatever holds it."""


def parent(pid: int, gone: Callable[[], None]) -> None:
    """Call `gone` (on a thread) when the process has ended; at once if it already has."""

    def run() -> None:
        while not process.wait_exit(pid, _PARENT_WAIT):
            pass
        gone()

    threading.Thread(target=run, name="parent-watch", daemon=True).start()


def stdin(gone: Callable[[], None]) -> None:
    """Call `gone` (on a thread) at the end of standard input."""

    def run() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass  # closed before we began: the same as its end
        gone()

    threading.Thread(target=run, name="stdin-watch", daemon=True).start()


class Guard:
    """Ends this process if something does not come in time: with a loop that hangs it would be left for ever.

    It takes no lock and imports nothing: it may be one of these that all others wait for.
    """

    def __init__(self, why: str, seconds: int = HUNG) -> None:
        """Begin to wait."""
        self._came = threading.Event()
        self._why = why
        self._seconds = seconds
        threading.Thread(target=self._run, name="guard", daemon=True).start()

    def came(self) -> None:
        """Tell that it came."""
        self._came.set()

    def _run(self) -> None:
        for _ in range(self._seconds):  # second by second: while the process is stopped, no more than one goes by
            if self._came.wait(1.0):
                return
        os.write(2, f"coder-local: {self._why} for {self._seconds} s; the process ends now\n".encode())
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EXIT_BROKEN)


class Watchdog:
    """Notices a blocked loop and a command that holds the writer, and writes where they stand to the log, once each.

    `troubles` is told of each as well: whose code it is, and in the end for how long.
    """

    def __init__(
        self,
        loop_busy_with: Callable[[], str],
        command: Callable[[], tuple[str, float] | None],
        troubles: Troubles,
    ) -> None:
        self._loop_busy_with = loop_busy_with
        self._command = command
        self._troubles = troubles
        self._beat = time.monotonic()
        self._culprit: Plugin | None = None
        """Whose code keeps the loop from coming round, while it does."""
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """Tell that the loop has come round; called on the loop, twice in `LATE` seconds."""
        before, self._beat = self._beat, time.monotonic()
        culprit, self._culprit = self._culprit, None
        if culprit is not None:
            self._troubles.lasted(culprit, self._beat - before)

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    def _run(self) -> None:
        told_loop, told_command = False, 0.0
        holder: Plugin | None = None
        while not self._stopped.wait(LATE):
            now = time.monotonic()
            late = now - self._beat > 2 * LATE
            if late and not told_loop:
                self._culprit = self._tell(
                    "the event loop", self._loop_busy_with(), now - self._beat, self._loop_thread
                )
            told_loop = late
            running = self._command()
            if running is None or now - running[1] <= 2 * LATE:
                continue
            if running[1] != told_command:
                told_command = running[1]
                writer = next((t.ident for t in threading.enumerate() if t.name == "writer"), None)
                holder = self._tell("the writer", running[0], now - running[1], writer)
            elif holder is not None:
                self._troubles.lasted(holder, now - running[1])

    def _tell(self, what: str, operation: str, seconds: float, thread: int | None) -> Plugin | None:
        frame = sys._current_frames().get(thread or 0)  # pyright: ignore[reportPrivateUsage] - the documented way to another thread's stack
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        plugin = self._troubles.blocked(operation, frame, f"it blocked {what}", seconds)
        name = operation or ("no operation" if plugin is None else f"plugin {plugin.name}")
        extra = {"plugin": operation.split(".", 1)[0] if plugin is None else plugin.name}
        _log.warning("%s is blocked for %.1f s by %s\n%s", what, seconds, name, stack, extra=extra)
        return plugin
