"""The fork server: a small process that keeps shims ready, because a fork of it is quicker than a new Python.

It reads nothing itself: the ready shims wait at its socket, and each byte there brings one of them the socket to a
daemon's command. It ends when the daemon is gone and its last shim has ended.
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

READY = 2
"""Shims that wait: two starts at once find one each, and a third waits a millisecond for its fork."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def main() -> None:
    """Serve the socket whose descriptor is the first argument, from a process that is nobody's child."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
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
    Server(control, take_orphans).run()


class Server:
    """Forks shims ahead of need, and reaps them."""

    def __init__(self, control: socket.socket, take_orphans: Callable[[], None]) -> None:
        self._control = control
        self._take_orphans = take_orphans
        self._taken, self._take = os.pipe()
        self._wakeup = open_wakeup()
        self._shims: set[int] = set()
        self._idle = 0

    def run(self) -> None:
        """Go on until the daemon is gone and no shim is left."""
        poll = select.poll()
        poll.register(self._control, 0)  # its end only: the bytes are for the shims
        poll.register(self._taken, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        serving = True
        while serving or self._shims:
            while serving and self._idle < READY:
                self._fork()
            for descriptor, _ in poll.poll():
                if descriptor == self._taken:
                    self._idle -= len(os.read(self._taken, 64))
                elif descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                else:
                    serving = False
                    poll.unregister(self._control)

    def _fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._wait_for_work()
        self._shims.add(pid)
        self._idle += 1

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._shims.discard(pid)

    def _wait_for_work(self) -> NoReturn:
        """Be a shim: wait for a command at the server's socket, serve it and end."""
        status = 1
        try:
            os.close(self._taken)
            os.close(self._wakeup)
            wakeup = open_wakeup()
            self._take_orphans()
            shim = identity.of(os.getpid())
            assert shim is not None
            command = posix.Command(shim)
            _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
            self._control.close()
            os.write(self._take, b".")
            os.close(self._take)
            if descriptors:
                daemon = socket.socket(fileno=descriptors[0])
                daemon.set_inheritable(False)
                posix.serve(daemon, command, wakeup)
            status = 0
        finally:
            os._exit(status)


def open_wakeup() -> int:
    """Return a descriptor that is readable after a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading
