"""The daemon's side of the fork server: one for the process, started at the first need and anew when it is gone."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from coder_ipc import program

if sys.platform == "win32":
    raise ImportError("this module is for POSIX")

# messages wake one waiting shim, where bytes wake them all
_KIND = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
_lock = threading.Lock()
_server: Server | None = None


class Server:
    """The socket at which the shims wait, and the pipe that ends when the fork server does."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
        self._life, life = os.pipe()
        os.set_blocking(self._life, False)
        more = str(theirs.fileno()), str(life)
        environ = program.clean_environment(os.environ)
        with theirs, open(life, "wb"):  # noqa: PTH123 (to close it)
            subprocess.run(  # noqa: S603 (a program of ours)
                [*program.inner(str(Path(__file__).parent), "shim.forkserver"), *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), life],
                env={name: value for name, value in environ.items() if name.startswith(("LD_", "DYLD_"))},
                check=True,
            )

    def is_alive(self) -> bool:
        """Tell whether the server runs: without it, its last shims would be served and then nobody answers."""
        try:
            return bool(os.read(self._life, 1))
        except BlockingIOError:
            return True

    def close(self) -> None:
        """Let go of the server: it ends after its last command."""
        self.control.close()
        os.close(self._life)


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

    def interrupt(self) -> None:
        """Do nothing: here the daemon sends its signals itself."""

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
            sent = ours.send(spec)  # what fits is there before the shim is: it need not be woken twice
            await _hand_over(theirs)
        if sent < len(spec):
            await asyncio.get_running_loop().sock_sendall(ours, memoryview(spec)[sent:])
    except ConnectionError:
        pass  # the shim is gone: hearing it will tell
    except BaseException:
        ours.close()
        raise
    return Link(ours)


async def _hand_over(end: socket.socket) -> None:
    """Give one end to the fork server; one that was killed is replaced."""
    server = _server
    if server is None or not server.is_alive():
        server = await asyncio.to_thread(_ensure)
    socket.send_fds(server.control, [b"."], [end.fileno()])


def _ensure() -> Server:
    """Return a living fork server."""
    global _server  # noqa: PLW0603 (one for the process: its shims are alike)
    with _lock:
        if _server is not None and not _server.is_alive():
            atexit.unregister(_server.close)
            _server.close()
            _server = None
        if _server is None:
            _server = Server()
            atexit.register(_server.close)
        return _server
