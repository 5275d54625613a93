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
import socket
import sys
import time
from typing import Any

from . import identity, members, records
from .frames import NAME, STDERR, STDOUT
from .identity import Identity
from .output import Output

if sys.platform == "win32":
    raise ImportError("this module is for POSIX")

_PIPE = 256 * 1024  # a user has 64 MiB for all pipes of this kind
_READ = 256 * 1024
_KILL_TRIES = 100
_FULL_DISK_TRIES = 600  # a second each: nobody else knows the result
_RESET = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGCHLD", "SIGXFSZ", "SIGUSR1", "SIGUSR2")


REPORT_SIZE = 5
IDLE = b"i"
_BUSY = b"b"


def report(reports: int, state: bytes) -> None:
    """Tell the fork server that this shim waits for a command, or has one."""
    os.write(reports, state + os.getpid().to_bytes(4, "big"))


class Outputs:
    """The pipes of one command: the shim reads from `out` and `err`, and the program writes into the other ends."""

    def __init__(self) -> None:
        self.out, self._out = _open_pipe()
        self.err, self._err = _open_pipe()

    def give(self) -> list[tuple[int, int, int]]:
        """Return what puts the writing ends where a program has its output, as `os.posix_spawn` takes it."""
        return [(os.POSIX_SPAWN_DUP2, self._out, 1), (os.POSIX_SPAWN_DUP2, self._err, 2)]

    def let_go(self) -> None:
        """Close the writing ends: the program has them now, or nobody will."""
        os.close(self._out)
        os.close(self._err)


class RefusedError(Exception):
    """A command could not be begun, and nothing of it ran. `field` is where it is wrong, as the daemon names it."""

    def __init__(self, field: str, fault: Exception) -> None:
        super().__init__(str(fault))
        self.wire = {"field": field, "errno": getattr(fault, "errno", None), "message": str(fault)}


def begin(spec: dict[str, Any], outputs: Outputs, shim: Identity, daemon: socket.socket) -> dict[str, Any]:
    """Leave the start record, load the program in a session of its own, and tell the daemon which process it is.

    A spawn does not copy this process, which costs ten times what loading a program does. Returns the start record.
    Raises `RefusedError`.
    """
    folder, step = spec["folder"], "/folder"
    try:
        record = records.describe_start(shim, spec["on_daemon_death"], spec["mark"])
        file = records.create(folder, records.START, record)
    except (OSError, ValueError) as fault:
        raise RefusedError(step, fault) from fault
    try:
        step = "/cwd"
        os.chdir(spec["cwd"])
        step = "/argv"
        pid = os.posix_spawn(
            spec["program"], spec["argv"], spec["env"], file_actions=outputs.give(), setsid=True,
            setsigdef=[getattr(signal, name) for name in _RESET],
        )  # fmt: skip
    except (OSError, ValueError, NotImplementedError) as fault:
        os.close(file)
        _withdraw(folder)
        raise RefusedError(step, fault) from fault
    finally:
        os.chdir("/")
    outputs.let_go()
    leader = records.describe_leader(identity.of_child(pid))
    _say(daemon, {"started": record | leader})  # first: on the disk nobody waits for it, and finds it without as well
    records.add(file, leader)
    return record | leader


def _take(control: socket.socket, patience: float | None) -> list[int]:
    """Wait for a command, at most `patience` seconds; return the socket to its daemon, nothing when there is none."""
    if patience is None:
        return _receive_socket(control)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    deadline = time.monotonic() + patience
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        # not by a blocking read: another shim may have been quicker. Not by O_NONBLOCK: the others share that flag
        with contextlib.suppress(BlockingIOError):
            return _receive_socket(control, socket.MSG_DONTWAIT)
    return []


def _receive_socket(sender: socket.socket, flags: int = 0) -> list[int]:
    """Receive a descriptor, which the program must not get; nothing when the sender is gone."""
    descriptors = socket.recv_fds(sender, 1, 1, flags)[1]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # unlike any other that Python opens, a received one is inherited
    return descriptors


def _rehearse(shim: Identity) -> None:
    """Do beforehand what the command will wait for: a fork pays for each page when it first writes to it."""
    record = records.describe_start(shim, "adopt", "") | records.describe_leader(shim)
    json.loads(json.dumps({"env": {"PATH": "/bin"}, "argv": ["true"], "record": record}))


def _open_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # over the user's limit of pipe memory: the usual size does as well
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
    os.set_blocking(reading, False)
    return reading, writing


class Shim:
    """Keeps one command: reads its pipes, waits for its end, and watches the daemon."""

    def __init__(self, daemon: socket.socket, outputs: Outputs, spec: dict[str, Any], start: dict[str, Any]) -> None:
        self._daemon = daemon
        self._poll = select.poll()
        self._pid: int = start["pid"]
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
        self._open = {outputs.out: STDOUT, outputs.err: STDERR}
        self._status: int | None = None
        self._has_children = True
        self._has_result = False
        self._killed = False

    def run(self, wakeup: int) -> bool:
        """Go on until the command and all that it left behind have ended; return whether it ended with a result.

        What a command leaves running may go on writing: its output is kept, after the end was told. And it falls to
        this process, by which it is found.
        """
        for descriptor in (*self._open, wakeup, self._daemon.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        told = False
        while self._open or self._has_children:
            for descriptor, _ in self._poll.poll():
                if descriptor == wakeup:
                    os.read(wakeup, 4096)
                    self._reap()
                elif descriptor in self._open:
                    self._read(descriptor)
                elif not _hear(self._daemon):
                    self._lose_daemon(descriptor)
            if self._status is not None and not told:
                told = True
                for descriptor in list(self._open):
                    self._drain(descriptor)
                self._tell_end(self._status)
        self._output.close()
        return self._has_result

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
        self._poll.unregister(descriptor)
        os.close(descriptor)
        return False

    def _drain(self, descriptor: int) -> None:
        """Take what the command left in a pipe, and no more: who holds it still may write without end."""
        for _ in range(_PIPE // _READ + 1):
            if not self._read(descriptor):
                return

    def _reap(self) -> None:
        """Take the end of every child: the command's, and those of orphans that fell to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _lose_daemon(self, descriptor: int) -> None:
        """Take note that the daemon is gone; kill the command and all that belongs to it, where that was asked."""
        self._poll.unregister(descriptor)
        self._daemon.close()
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

    def _tell_end(self, status: int) -> None:
        """Write the exit record and tell the daemon; a command that was killed with its daemon leaves no result."""
        self._output.settle()
        if self._killed:
            return
        result: dict[str, Any] = {"code": status} if status >= 0 else {"signal": -status}
        result |= {"started_at_ms": self._started_ms, "ended_at_ms": records.now_ms(), "left": self._has_children}
        file = _write_exit(self._folder, result)
        _say(self._daemon, {"ended": result})  # to a daemon that is gone it says nothing
        for _ in range(_FULL_DISK_TRIES):
            if file is not None:
                break
            time.sleep(1)
            file = _write_exit(self._folder, result)
        if file:
            self._has_result = True
            with contextlib.suppress(OSError):
                records.sync(file)  # after the daemon was told: nobody waits for the disk


def _write_exit(folder: str, result: dict[str, Any]) -> int | None:
    """Write the exit record; None when the disk is full, 0 when there is no place for it."""
    try:
        return records.write(folder, records.EXIT, result)
    except OSError as error:
        return None if error.errno in (errno.ENOSPC, errno.EDQUOT) else 0


def _hear(daemon: socket.socket) -> bool:
    """Read from the daemon, which says nothing after the specification; False when it is gone."""
    try:
        return bool(daemon.recv(64))
    except OSError:
        return False


def _say(daemon: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        daemon.sendall(json.dumps(message).encode("ascii") + b"\n")


def _receive(daemon: int) -> tuple[bytes, bytes] | None:
    """Read a specification: two lengths of 4 bytes, the shim's part and the command's; None when the daemon left."""
    lengths = _receive_exactly(daemon, 8)
    if lengths is None:
        return None
    first = int.from_bytes(lengths[:4], "big")
    both = _receive_exactly(daemon, first + int.from_bytes(lengths[4:], "big"))
    return None if both is None else (both[:first], both[first:])


def _receive_exactly(daemon: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = os.read(daemon, min(size - len(data), 1024 * 1024))
        if not piece:
            return None
        data += piece
    return bytes(data)


def serve(control: socket.socket, reports: int, wakeup: int, patience: float | None = None) -> bool:
    """Wait for a command at the server's socket, at most `patience` seconds, and keep it until all is over.

    Return whether this process may serve another: it may not when there was none, and not without a result, because
    as long as there is no exit record, a living shim means that the command is being kept.
    """
    shim, outputs = identity.own(), Outputs()
    _rehearse(shim)
    descriptors = _take(control, patience)
    if not descriptors:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptors[0]) as daemon:
        received = _receive(daemon.fileno())
        if received is None:
            return False
        try:
            start = begin(json.loads(received[1]), outputs, shim, daemon)
        except RefusedError as refused:
            _say(daemon, {"refused": refused.wire})
            return False
        report(reports, _BUSY)  # not earlier: it wakes the server, which would run in the way of the program's start
        return Shim(daemon, outputs, json.loads(received[0]), start).run(wakeup)


def _withdraw(folder: str) -> None:
    """Take the start record back: what could not be loaded has never begun."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, records.START))  # noqa: PTH108, PTH118 (pathlib is slow to import)
