"""The daemon's side of the fork server: one for the process, started at the first need and anew when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from shim.forkserver import main; main()"
_OPTIONS = ("-I", "-S", "-E", "-X", "utf8")
_lock = threading.Lock()
_control: socket.socket | None = None


class Link:
    """The socket to the shim of one command."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._read = b""

    async def hear(self) -> dict[str, Any] | None:
        """Return the shim's next message, None when the shim has ended."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._read:
            try:
                piece = await loop.sock_recv(self._socket, 65536)
            except ConnectionError:
                return None
            if not piece:
                return None
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Let go of the shim: to it, the daemon is gone."""
        self._socket.close()


async def warm() -> None:
    """Start the fork server where none is, so that the first command need not wait for it (some 50 ms)."""
    await asyncio.to_thread(_ensure)


async def open_link(spec: bytes) -> Link:
    """Hand a specification to a shim that waits for one."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        with theirs:
            await _hand_over(theirs)
        await asyncio.get_running_loop().sock_sendall(ours, spec)
    except ConnectionError:
        pass  # the shim is gone: hearing it will tell
    except BaseException:
        ours.close()
        raise
    return Link(ours)


async def _hand_over(end: socket.socket) -> None:
    """Give one end to the fork server; a server that was killed has nobody at its socket, and is replaced."""
    with contextlib.suppress(OSError):
        if _control is not None:
            socket.send_fds(_control, [b"."], [end.fileno()])
            return
    control = await asyncio.to_thread(_ensure, _control)
    socket.send_fds(control, [b"."], [end.fileno()])


def _ensure(dead: socket.socket | None = None) -> socket.socket:
    """Return the socket of a living fork server; `dead` is one that did not answer."""
    global _control  # noqa: PLW0603 (one per process: its shims are alike)
    with _lock:
        if _control is None or _control is dead:
            if _control is not None:
                _control.close()
            _control = _start_server()
        return _control


def _start_server() -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.run(  # noqa: S603 (this Python, and a program of ours)
            [sys.executable, *_OPTIONS, "-c", _PROGRAM, str(Path(__file__).parent), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={name: value for name, value in os.environ.items() if name.startswith(("LD_", "DYLD_"))},
            check=True,
        )
    return ours
