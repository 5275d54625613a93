"""The shim on POSIX: a forked process that waits for a command, runs it, and keeps what it says.

It talks with the daemon over one socket: the specification comes in, lines of JSON go out (`started`, `refused`,
`ended`). The end of that socket is the end of the daemon.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from . import identity, members, records
from .frames import NAME, STDERR, STDOUT
from .identity import Identity
from .output import Output

if TYPE_CHECKING:
    import socket

_PIPE = 1024 * 1024
_READ = 256 * 1024
_KILL_TRIES = 100
_FULL_DISK_TRIES = 600  # a second each: nobody else knows the result
_RESET = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGCHLD", "SIGXFSZ", "SIGUSR1", "SIGUSR2")


class Command:
    """The forked process that will be the command: it waits in a session of its own until it is told what to be."""

    def __init__(self, shim: Identity) -> None:
        gate, self._gate = os.pipe()
        self._error, error = os.pipe()
        self.out, out = _open_pipe()
        self.err, err = _open_pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            os.close(self._error)
            _become(gate, error, (out, err), shim)
        for descriptor in (gate, error, out, err):
            os.close(descriptor)

    def begin(self, spec: bytes) -> tuple[bytes, bytes]:
        """Tell the process what to be; return its start record and, when it could not, why."""
        with open(self._gate, "wb", buffering=0) as gate, open(self._error, "rb", buffering=0) as error:
            with contextlib.suppress(BrokenPipeError):
                view = memoryview(spec)
                while view:
                    view = view[gate.write(view) or 0 :]
            gate.close()
            answer = b""
            while piece := error.read(65536):  # ends when the program is loaded, which closes the pipe
                answer += piece
        started, _, refused = answer.partition(b"\n")
        return started, refused


def _become(gate: int, error: int, outputs: tuple[int, int], shim: Identity) -> NoReturn:
    """Wait for the specification, leave the start record, and be the program."""
    step = "/folder"
    try:
        os.setsid()
        for name in _RESET:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for source, target in zip(outputs, (1, 2), strict=True):
            os.dup2(source, target)
        with open(gate, "rb") as file:
            text = file.read()
        if not text:
            os._exit(0)  # the shim ended without a command
        spec: dict[str, Any] = json.loads(text)
        leader = identity.of(os.getpid())
        assert leader is not None
        record = records.describe_start(leader, shim, spec["on_daemon_death"], spec["mark"])
        os.close(records.write(spec["folder"], records.START, record))
        os.write(error, json.dumps(record).encode("ascii") + b"\n")
        step = "/cwd"
        os.chdir(spec["cwd"])
        step = "/argv"
        os.execve(spec["program"], spec["argv"], spec["env"])
    except BaseException as fault:  # noqa: BLE001 (whatever it is, this process is not the shim's copy any more)
        number = fault.errno if isinstance(fault, OSError) else None
        os.write(error, json.dumps({"field": step, "errno": number, "message": str(fault)}).encode("ascii"))
    finally:
        os._exit(127)


def _open_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # over the user's limit of pipe memory: the usual size does as well
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
    os.set_blocking(reading, False)
    return reading, writing


class Shim:
    """Keeps one command: reads its pipes, waits for its end, and watches the daemon."""

    def __init__(self, daemon: socket.socket, command: Command, spec: dict[str, Any], start: dict[str, Any]) -> None:
        self._daemon: socket.socket | None = daemon
        self._pid = command.pid
        self._leader = Identity(start["pid"], start["started"], start["boot"])
        self._mark: str = start["mark"]
        self._started_ms: int = start["started_at_ms"]
        self._folder: str = spec["folder"]
        self._kills = spec["on_daemon_death"] == "kill"
        self._output = Output(
            os.path.join(self._folder, NAME),  # noqa: PTH118 (pathlib is slow to import)
            [value.encode("latin-1") for value in spec["mask"]],
            spec["log_limit"],
        )
        self._open = {command.out: STDOUT, command.err: STDERR}
        self._status: int | None = None
        self._killed = False

    def run(self, wakeup: int) -> None:
        """Go on until the command has ended and nobody holds its pipes any more.

        What a command leaves running may go on writing: its output is kept, after the end was told.
        """
        poll = select.poll()
        for descriptor in (*self._open, wakeup):
            poll.register(descriptor, select.POLLIN)
        if self._daemon is not None:
            poll.register(self._daemon, select.POLLIN)
        told = False
        while self._open or self._status is None:
            for descriptor, _ in poll.poll():
                if descriptor in self._open:
                    if not self._read(descriptor):
                        poll.unregister(descriptor)
                        os.close(descriptor)
                elif descriptor == wakeup:
                    os.read(wakeup, 4096)
                    self._reap()
                elif self._daemon is not None and not self._hear():
                    poll.unregister(descriptor)
                    self._lose_daemon()
            if self._status is not None and not told:
                told = True
                self._drain(poll)
                self._tell_end()
        self._output.close()

    def _read(self, descriptor: int) -> bool:
        """Take what is in a pipe; False at its end."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return True
        if data:
            self._output.feed(self._open[descriptor], data)
            return True
        self._output.end(self._open.pop(descriptor))
        return False

    def _drain(self, poll: select.poll) -> None:
        """Take what the command left in its pipes, and no more: who holds them still may write without end."""
        for descriptor in list(self._open):
            for _ in range(_PIPE // _READ + 1):
                ready = select.poll()
                ready.register(descriptor, select.POLLIN)
                if not ready.poll(0):
                    break
                if not self._read(descriptor):
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    break

    def _reap(self) -> None:
        """Take the end of every child: the command's, and those of orphans that fell to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _hear(self) -> bool:
        """Read from the daemon, which says nothing after the specification; False when it is gone."""
        assert self._daemon is not None
        try:
            return bool(self._daemon.recv(64))
        except OSError:
            return False

    def _lose_daemon(self) -> None:
        assert self._daemon is not None
        self._daemon.close()
        self._daemon = None
        if not self._kills:
            return
        self._killed = self._status is None
        for _ in range(_KILL_TRIES):  # what was forked meanwhile is found by the next look
            found = members.find(self._leader, self._mark, os.getpid())
            if not found:
                return
            members.send(self._leader, found, signal.SIGKILL)
            time.sleep(0.01)
            self._reap()

    def _tell_end(self) -> None:
        """Write the exit record and tell the daemon; a command that was killed with its daemon leaves no result."""
        self._output.settle()
        if self._killed:
            return
        assert self._status is not None
        result: dict[str, Any] = {"code": self._status} if self._status >= 0 else {"signal": -self._status}
        result |= {"started_at_ms": self._started_ms, "ended_at_ms": records.now_ms()}
        file = _write_exit(self._folder, result)
        if self._daemon is not None:
            _say(self._daemon, {"ended": result})
        for _ in range(_FULL_DISK_TRIES):
            if file is not None:
                break
            time.sleep(1)
            file = _write_exit(self._folder, result)
        if file:
            with contextlib.suppress(OSError):
                records.sync(file)  # after the daemon was told: nobody waits for the disk


def _write_exit(folder: str, result: dict[str, Any]) -> int | None:
    """Write the exit record; None when the disk is full, 0 when there is no place for it."""
    try:
        return records.write(folder, records.EXIT, result)
    except OSError as error:
        return None if error.errno in (errno.ENOSPC, errno.EDQUOT) else 0


def _say(daemon: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        daemon.sendall(json.dumps(message).encode("ascii") + b"\n")


def receive(daemon: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """Read a specification: two lengths of 4 bytes, the shim's part and the command's; None when the daemon left."""
    lengths = _receive_exactly(daemon, 8)
    if lengths is None:
        return None
    first = int.from_bytes(lengths[:4], "big")
    both = _receive_exactly(daemon, first + int.from_bytes(lengths[4:], "big"))
    if both is None:
        return None
    return json.loads(both[:first]), both[first:]


def _receive_exactly(daemon: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = daemon.recv(min(size - len(data), 1024 * 1024))
        if not piece:
            return None
        data += piece
    return bytes(data)


def serve(daemon: socket.socket, command: Command, wakeup: int) -> None:
    """Run one command that the daemon at the other end of the socket asks for."""
    received = receive(daemon)
    if received is None:
        return
    spec, part = received
    started, refused = command.begin(part)
    if refused or not started:
        _withdraw(spec["folder"])
        _say(daemon, {"refused": json.loads(refused) if refused else {"message": "it ended before it began"}})
        return
    _say(daemon, {"started": json.loads(started)})
    Shim(daemon, command, spec, json.loads(started)).run(wakeup)


def _withdraw(folder: str) -> None:
    """Take the start record back: what could not be loaded has never begun."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, records.START))  # noqa: PTH108, PTH118 (pathlib is slow to import)
