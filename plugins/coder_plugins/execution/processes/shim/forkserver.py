"""The fork server: a small process that keeps shims ready, because a fork of it is quicker than a new Python.

It reads nothing itself: the ready shims wait at its socket, and each message there brings one of them the socket to a
command of the daemon. A shim whose command left nothing behind serves again. The server ends when the daemon is gone
and its last shim has ended; a pipe whose end only the server holds tells the daemon when it is the server that is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from . import identity, posix

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    raise ImportError("this module is for POSIX")

READY = 3
"""Shims that wait: so many starts at once find one each, and the next waits some milliseconds for its fork."""
_CALM_MS = 10
"""So long after a start the next shim is forked, while one is left: earlier, it would take the start's processor."""
_PATIENCE = 10.0
"""Seconds that a shim waits for one more command: after a burst there are more than are needed."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def main() -> None:
    """Serve the socket and hold the pipe whose descriptors are the arguments, from a process that is nobody's child."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    life = int(sys.argv[2])
    os.set_inheritable(life, False)
    if os.fork():
        os._exit(0)  # whoever started this need not wait for it later
    os.setsid()
    os.chdir("/")
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (only Linux needs it; loaded once, before the forks)

        adopt = ctypes.CDLL(None).prctl
    else:

        def adopt(*_: int) -> int:
            return 0

    def take_orphans() -> None:
        adopt(_SUBREAPER, 1, 0, 0, 0)

    take_orphans()
    identity.boot_id()
    gc.collect()
    gc.freeze()  # a collection would write to every page that the forks share
    gc.disable()
    Server(control, life, take_orphans).run()


class Server:
    """Forks shims ahead of need, and reaps them."""

    def __init__(self, control: socket.socket, life: int, take_orphans: Callable[[], None]) -> None:
        self._control = control
        self._life = life
        self._take_orphans = take_orphans
        self._reports, self._report = os.pipe()
        self._wakeup = open_wakeup()
        self._shims: set[int] = set()
        self._idle: set[int] = set()

    def run(self) -> None:
        """Go on until the daemon is gone and no shim is left."""
        poll = select.poll()
        poll.register(self._control, 0)  # its end only: the bytes are for the shims
        poll.register(self._reports, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        serving = True
        while serving or self._shims:
            if serving and not self._idle:
                self._fork()
            short = serving and len(self._idle) < READY
            events = poll.poll(_CALM_MS if short else None)
            if short and not events:
                self._fork()
            for descriptor, _ in events:
                if descriptor == self._reports:
                    self._note(os.read(self._reports, posix.REPORT_SIZE))
                elif descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                else:
                    serving = False
                    poll.unregister(self._control)

    def _note(self, report: bytes) -> None:
        pid = int.from_bytes(report[1:], "big")
        if report[:1] == posix.IDLE and pid in self._shims:
            self._idle.add(pid)
        else:
            self._idle.discard(pid)

    def _fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._wait_for_work()
        self._shims.add(pid)
        self._idle.add(pid)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._shims.discard(pid)
                self._idle.discard(pid)

    def _wait_for_work(self) -> NoReturn:
        """Be a shim: serve one command after the other, as long as each ends with all that it began."""
        status = 1
        try:
            for descriptor in (self._life, self._reports, self._wakeup):
                os.close(descriptor)
            wakeup = open_wakeup()
            self._take_orphans()
            clean = posix.serve(self._control, self._report, wakeup)
            while clean:
                posix.report(self._report, posix.IDLE)
                clean = posix.serve(self._control, self._report, wakeup, _PATIENCE)
            status = 0
        finally:
            os._exit(status)


def open_wakeup() -> int:
    """Return a descriptor that is readable after a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _wake)
    return reading


def _wake(_number: int, _frame: object) -> None:
    """Let a signal wake the poll: one that is ignored does not."""
