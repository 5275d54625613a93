"""Blocking byte channels to the daemon: a Unix socket, or a Windows named pipe."""

from __future__ import annotations

import socket
import sys
import time
from typing import Protocol

from .errors import NotRunning

_CHUNK = 256 * 1024


class Channel(Protocol):
    """Bytes to and from the daemon. Failures are `OSError`, a time limit passed is `TimeoutError`."""

    def send(self, data: bytes, deadline: float | None) -> None:
        """Send all of `data`; after a `TimeoutError` an unknown part of it was sent."""
        ...

    def receive(self, deadline: float | None) -> bytes:
        """Return what has arrived, waiting until `deadline` on the monotonic clock; empty at the end."""
        ...

    def close(self) -> None:
        """Let the daemon know that nothing follows."""
        ...


def open_channel(address: str, timeout: float) -> Channel:
    """Return a channel to the daemon at `address`.

    Raises `NotRunning` when nobody listens there, `TimeoutError` when the listener takes no connection in `timeout`
    seconds.
    """
    try:
        return _open(address, timeout)
    except TimeoutError:
        raise
    except OSError as fault:
        raise not_running(address, fault) from fault


def not_running(address: str, fault: OSError) -> NotRunning:
    """Return the error for an address that nobody answers at."""
    return NotRunning(
        f"no daemon answers at {address}: {fault.strerror or fault}",
        hint="start one with: coder-local serve (a runtime.json left by a crash is replaced then)",
    )


if sys.platform == "win32":  # pragma: no cover (not run on the machines of the test suite: unverified)
    import _winapi
    import msvcrt
    from pathlib import Path

    _ERROR_PIPE_BUSY = 231
    _POLL_FIRST = 0.0002
    _POLL_LAST = 0.01

    class PipeChannel:
        """A connected named pipe.

        The pipe is asked before it is read: a blocking read could neither be given a time limit nor be interrupted by
        Ctrl-C.
        """

        def __init__(self, address: str, timeout: float) -> None:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    self._file = Path(address).open("r+b", buffering=0)  # noqa: SIM115 (closed by `close`)
                    break
                except OSError as fault:
                    # busy: every instance of the pipe is taken until the daemon has made the next one
                    if fault.winerror != _ERROR_PIPE_BUSY:
                        raise
                    if time.monotonic() >= deadline:
                        raise TimeoutError(f"{address} stays busy") from fault
                    time.sleep(_POLL_LAST)
            self._handle = msvcrt.get_osfhandle(self._file.fileno())

        def send(self, data: bytes, deadline: float | None) -> None:  # noqa: ARG002 (a pipe's write has no limit)
            """Send all of `data`; the deadline is not kept, for a pipe's write cannot be given one."""
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

        def receive(self, deadline: float | None) -> bytes:
            """Return what has arrived; see `Channel.receive`."""
            pause = _POLL_FIRST
            while True:
                try:
                    available = int(_winapi.PeekNamedPipe(self._handle, 0)[0])
                except BrokenPipeError:
                    return b""
                if available:
                    return self._file.read(min(available, _CHUNK))
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError
                time.sleep(pause)
                pause = min(pause * 1.5, _POLL_LAST)

        def close(self) -> None:
            """Close the pipe."""
            self._file.close()

    def _open(address: str, timeout: float) -> Channel:
        return PipeChannel(address, timeout)

else:
    import select

    # A Ctrl-C that comes between the interpreter's last look and the system call is seen when the call returns: at once
    # where there is traffic, otherwise only if the wait is cut into slices.
    _SLICE_MS = 500

    class SocketChannel:
        """A connected Unix socket."""

        def __init__(self, address: str, timeout: float) -> None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.settimeout(timeout)
                self._socket.connect(address)
                self._socket.settimeout(None)
            except BaseException:
                self._socket.close()
                raise
            self._timed = False
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)

        def send(self, data: bytes, deadline: float | None) -> None:
            """Send all of `data`; see `Channel.send`."""
            self._wait_until(deadline)
            self._socket.sendall(data)

        def receive(self, deadline: float | None) -> bytes:
            """Return what has arrived; see `Channel.receive`."""
            self._wait_until(deadline)
            if deadline is None:
                while not self._poll.poll(_SLICE_MS):
                    pass
            return self._socket.recv(_CHUNK)

        def close(self) -> None:
            """Close the socket."""
            self._socket.close()

        def _wait_until(self, deadline: float | None) -> None:
            if deadline is not None:
                # zero would make the socket non-blocking, whose error is another one
                self._socket.settimeout(max(deadline - time.monotonic(), 0.0001))
            elif self._timed:  # each settimeout is a system call, and most calls have no limit
                self._socket.settimeout(None)
            self._timed = deadline is not None

    def _open(address: str, timeout: float) -> Channel:
        return SocketChannel(address, timeout)
