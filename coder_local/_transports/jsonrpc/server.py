"""The socket: a Unix socket that only its owner may speak to, or a named pipe on Windows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from coder_ipc import framing
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER, Principal

from .session import Session

_log = logging.getLogger("coder_local.daemon")
BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of the largest message."""
_HIGH_WATER = 1024 * 1024
"""Bytes that wait for a peer before nothing more is read from it."""


class SocketServer:
    """Serves JSON-RPC on one address."""

    def __init__(self, kernel: Kernel, address: str, authenticate: Callable[[str], Principal]) -> None:
        self.address = address
        self._kernel = kernel
        self._authenticate = authenticate
        self._server: asyncio.Server | None = None
        self._pipes: list[Any] = []
        self._connections: set[_Connection] = set()
        self._outbox: _Outbox | None = None

    async def start(self) -> None:
        """Listen. The caller holds the lock of the data directory, so what lies at the address is left from a crash."""
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":
            proactor = cast("Any", loop)  # the pipe server is a method of the proactor loop only
            self._pipes = await proactor.start_serving_pipe(self._connection, self.address)
            return
        Path(self.address).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the file is never, not even for a moment, open to others
        try:
            listening.bind(self.address)
        finally:
            os.umask(before)
        self._server = await loop.create_unix_server(self._connection, sock=listening, backlog=1024)

    async def stop(self, within: float = 2.0) -> None:
        """Take no new connections, remove the socket, and hang up on those there are once they have been sent all.

        After `within` seconds what a client has not taken is dropped.
        """
        if self._server is not None:
            self._server.close()
            Path(self.address).unlink(missing_ok=True)
        for pipe in self._pipes:
            pipe.close()
        for connection in list(self._connections):
            connection.close()
        end = asyncio.get_running_loop().time() + within
        while self._connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            _log.warning("a client did not take its answers before the daemon stopped")
            connection.abort()
        await asyncio.sleep(0)

    def tell(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification to everybody who is connected."""
        message = msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})
        for connection in list(self._connections):
            connection.tell(message)

    def _connection(self) -> _Connection:
        pipe = sys.platform == "win32"
        principal = None if pipe else OWNER  # the kernel told us the peer's user; a pipe's client must show the token
        if self._outbox is None:
            self._outbox = _Outbox(asyncio.get_running_loop().call_soon)
        return _Connection(self._kernel, self._connections, self._outbox, principal, self._authenticate)


class _Outbox:
    """The connections that have something to send: written to together, once the loop comes round.

    One commit answers many connections; a turn of the loop for each would cost more than the write.
    """

    def __init__(self, soon: Callable[..., object]) -> None:
        self._soon = soon
        self._waiting: list[_Connection] = []

    def add(self, connection: _Connection) -> None:
        """Flush a connection soon."""
        if not self._waiting:
            self._soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()


class _Connection(asyncio.Protocol):
    """Frames in, frames out, with back-pressure: a peer that does not read is not read from."""

    def __init__(
        self,
        kernel: Kernel,
        connections: set[_Connection],
        outbox: _Outbox,
        principal: Principal | None,
        authenticate: Callable[[str], Principal],
    ) -> None:
        self._kernel = kernel
        self._connections = connections
        self._outbox = outbox
        self._parser = framing.FrameParser(BODY_LIMIT)
        self._session = Session(
            kernel, principal, self._send, self._is_writable, authenticate=authenticate, unsent=self._unsent
        )
        self._session.on_room = self._work_soon
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._queued = 0
        """Bytes in `_out`."""
        self._bodies: deque[bytes] = deque()
        """Messages that have been read but not taken: as much as came in one piece at most."""
        self._fault: framing.FrameError | None = None
        self._working = False
        self._writable = True
        self._told_to_wait = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        peer = transport.get_extra_info("socket")
        if peer is not None and not _is_same_user(peer):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._transport = transport
        self._connections.add(self)
        self._kernel.clients.came()

    def data_received(self, data: bytes) -> None:
        try:
            self._bodies += self._parser.feed(data)
        except framing.FrameError as error:
            self._bodies += error.bodies
            self._fault = error
        self._work()

    def _work(self) -> None:
        """Take the messages that were read, as long as the peer takes the answers; the rest waits for that."""
        if self._working or self._transport is None:
            return
        self._working = True  # answers that are ready at once go out in one write
        try:
            while self._bodies and self._may_take():
                self._session.receive(self._bodies.popleft())
                if self._queued >= _HIGH_WATER:
                    self.flush()
        finally:
            self._working = False
            self.flush()
        if self._bodies or not self._may_take():
            self._transport.pause_reading()
        elif self._fault is not None:
            self._broken_frame(self._fault)
        else:
            self._transport.resume_reading()

    def _work_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._work)

    def _may_take(self) -> bool:
        return self._writable and not self._session.full

    def _broken_frame(self, error: framing.FrameError) -> None:
        """Say what is wrong and hang up: where the next frame begins is not known."""
        self._out.append(framing.encode(_frame_fault(error)))
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._told_to_wait = False
        self._session.resume()
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._writable = False
        self._bodies.clear()
        if self._transport is not None:
            self._transport = None
            self._connections.discard(self)
            self._session.close()
            self._kernel.clients.left()

    def tell(self, message: bytes) -> None:
        """Send a message that nobody asked for; left out for a peer that does not read what it is sent."""
        if self._is_writable():
            self._send(message)

    def close(self) -> None:
        """Send what is left, and hang up."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def _is_writable(self) -> bool:
        if self._writable and self._queued < _HIGH_WATER:
            return True
        self._told_to_wait = True
        return False

    def _unsent(self) -> int:
        return self._queued + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def _send(self, message: bytes) -> None:
        if not self._out and not self._working:
            self._outbox.add(self)
        frame = framing.encode(message)
        self._out.append(frame)
        self._queued += len(frame)

    def flush(self) -> None:
        """Send what waits, in one write, and let those go on who were told to wait for it."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()
        self._queued = 0
        if self._told_to_wait and self._writable and not self._working:
            self._told_to_wait = False
            self._session.resume()


def _frame_fault(error: framing.FrameError) -> bytes:
    message = str(error).replace('"', "'").replace("\\", "/")
    kind = "too_large" if error.kind == "too_large" else "invalid"
    data = f'{{"kind":"{kind}","message":"{message}","data":{{"limit":{BODY_LIMIT}}}}}'
    return f'{{"jsonrpc":"2.0","id":null,"error":{{"code":-32700,"message":"{message}","data":{data}}}}}'.encode()


def _is_same_user(peer: socket.socket) -> bool:
    """Tell whether the process at the other end runs as our user."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return bool(uid == os.getuid())
    if sys.platform == "darwin":  # struct xucred: version, uid, ngroups, groups; LOCAL_PEERCRED is 1 at level 0
        with contextlib.suppress(OSError):
            _, uid = struct.unpack("2I", peer.getsockopt(0, 1, 76)[:8])
            return bool(uid == os.getuid())
        return False
    return True
