"""Attach to the daemon of a data directory, or start one that outlives the process that asked for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import process, program, runtime
from .channel import open_channel
from .client import Client
from .errors import EXIT_CODES, ConnectionLost, IpcError, NotRunning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .runtime import Runtime

_LOG_LIMIT = 4 * 1024 * 1024
_TAIL = 4096
_LINE_LIMIT = 64 * 1024
_PROBE_LIMIT = 5.0
_START_TIME_SLACK = 2.0  # seconds; /proc, ps and psutil round a start time differently


class SpawnError(IpcError):
    """The daemon that was started is not there.

    `returncode` is its exit code, None when it runs or never ran; `stderr` is the end of what it
    wrote on standard error, at most 4 KB.
    """

    def __init__(
        self,
        message: str,
        *,
        returncode: int | None = None,
        stderr: str = "",
        hint: str | None = None,
        exit_code: int = EXIT_CODES["broken"],
    ) -> None:
        super().__init__(f"{message}\n{stderr}" if stderr else message, hint=hint)
        self.returncode = returncode
        self.stderr = stderr
        self._exit_code = returncode if returncode is not None and returncode > 0 else exit_code

    @property
    def exit_code(self) -> int:
        """Return the daemon's own exit code where it failed with one, else that of `timeout` or `broken`."""
        return self._exit_code


def attach(data_dir: str | os.PathLike[str], timeout: float = _PROBE_LIMIT) -> Runtime:
    """Return the daemon that answers for a data directory now. Raises as `Client.connect` does."""
    return greet(data_dir, timeout)[0]


def greet(data_dir: str | os.PathLike[str], timeout: float = _PROBE_LIMIT) -> tuple[Runtime, dict[str, Any]]:
    """Return what `attach` does, and the daemon's answer to `initialize`.

    One that is stopping counts as none: it would answer nothing else, and who waits for its lock can follow it.
    """
    with Client.connect(data_dir, timeout) as client:
        found = runtime.read(data_dir)
        if found is None or client.hello.get("state") == "stopping":
            raise NotRunning(f"the daemon of {data_dir} is just stopping (pid {client.hello.get('pid')})")
        return found, client.hello


def attach_or_spawn(
    data_dir: str | os.PathLike[str],
    command: Sequence[str],
    timeout: float = 30.0,
    *,
    env: Mapping[str, str] | None = None,
) -> Runtime:
    """Return the daemon of a data directory, starting `command serve --data-dir ...` detached when none answers.

    `timeout` in seconds is for the start; `env` replaces the environment. Two callers at once get the same daemon: the
    second `serve` finds the first and says so. The daemon is in a session of its own, so Ctrl-C and the terminal's end
    do not reach it; its standard error goes to `logs/daemon.stderr.log` of the data directory.

    A daemon that brings its data up to date is returned as soon as it answers: calls wait, and `daemon.status` tells
    under `migrating` how far it is.

    Raises `SpawnError` when it exits before it is ready, or is not ready in time; in the latter case it is left alone,
    because killing it in the middle of a migration would have the next start begin anew and end the same way.
    """
    try:
        return attach(data_dir)
    except (NotRunning, ConnectionLost):  # lost: it was stopping, and the next one waits for its lock
        return start(data_dir, command, timeout, env=env)


def start(
    data_dir: str | os.PathLike[str],
    command: Sequence[str],
    timeout: float = 30.0,
    *,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Runtime:
    """Run `command serve --data-dir ... options` detached, and return the daemon that its ready line tells of.

    The rest is as `attach_or_spawn` has it, which asks first whether a daemon answers.
    """
    folder = Path(data_dir).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = _open_log(folder)
    with log:
        begin = log.tell()
        child = _start([*command, "serve", "--data-dir", str(folder), *options], log, env)
    line = child.ready_line(timeout)
    if line is None:
        raise SpawnError(
            f"the daemon (pid {child.pid}) was not ready in {timeout:g} s and is left running",
            exit_code=EXIT_CODES["timeout"],
            stderr=_tail(log.name, begin),
            hint=f"try again later, or look into {log.name}",
        )
    if _event(line) not in ("ready", "attached"):
        _raise_failed(child, line, log.name, begin)
    return attach(folder)


def wait_stopped(found: Runtime, timeout: float) -> bool:
    """Wait until the process of a daemon has ended, at most `timeout` seconds; return whether it has.

    It does not ask the daemon to stop. A process that took over the pid afterwards is told by its start time.
    """
    started = process.started_at(found.pid)
    if started is None:
        return True
    # a clock that was set moves start times on Linux, so another time is no proof while the socket still answers
    if abs(started - found.process_started_at) > _START_TIME_SLACK and not _listens(found.socket):
        return True
    return process.wait_exit(found.pid, timeout)


class _Child:
    """A started daemon, attended by a thread.

    The thread reads the one line, which a Windows pipe allows no time limit for, and then waits for the exit: a parent
    that lives long, such as a test run, would otherwise keep a zombie that looks like a running daemon.
    """

    def __init__(self, started: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self.pid = started.pid
        self.returncode: int | None = None
        self._process = started
        self._output = output
        self._line = b""
        self._has_line = threading.Event()
        self._has_ended = threading.Event()
        threading.Thread(target=self._attend, name=f"coder-ipc-spawn-{self.pid}", daemon=True).start()

    def ready_line(self, timeout: float) -> bytes | None:
        """Return the first line of standard output, empty when it ended without one, None when the time passed."""
        return self._line if self._has_line.wait(timeout) else None

    def wait(self, timeout: float) -> int | None:
        """Return the exit code, None when the process has not ended in time."""
        self._has_ended.wait(timeout)
        return self.returncode

    def _attend(self) -> None:
        with self._output:
            self._line = self._output.readline(_LINE_LIMIT)
        self._has_line.set()
        self.returncode = self._process.wait()
        self._has_ended.set()


def _start(argv: list[str], log: IO[bytes], env: Mapping[str, str] | None) -> _Child:
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        flags = 0
    try:
        started = subprocess.Popen(  # noqa: S603 (the caller's own command)
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=program.clean_environment(os.environ if env is None else env),
            start_new_session=True,  # ignored by Windows, as the flags are elsewhere
            creationflags=flags,
        )
    except OSError as fault:
        raise SpawnError(
            f"{argv[0]} cannot be started: {fault.strerror}",
            hint="is coder-local installed?",
        ) from fault
    assert started.stdout is not None, "stdout=PIPE gives one"  # noqa: S101
    return _Child(started, started.stdout)


def _raise_failed(child: _Child, line: bytes, log: str, start: int) -> None:
    """Raise for a child whose standard output ended, or held something else than the ready line."""
    if line:
        message = f"the daemon (pid {child.pid}) printed {line[:200]!r} where its ready line was due"
        raise SpawnError(message, returncode=child.wait(0), stderr=_tail(log, start))
    code = child.wait(_PROBE_LIMIT)
    message = (
        f"the daemon (pid {child.pid}) closed its standard output without a ready line"
        if code is None
        else f"the daemon ended with exit code {code} before it was ready"
    )
    raise SpawnError(message, returncode=code, stderr=_tail(log, start), hint=f"the whole log is {log}")


def _open_log(data_dir: Path) -> IO[bytes]:
    path = data_dir / "logs" / "daemon.stderr.log"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    except OSError:
        pass  # not there yet; or, on Windows, still held by a daemon that is stopping
    return path.open("ab")


def _tail(log: str, start: int) -> str:
    with Path(log).open("rb") as file:
        file.seek(max(start, file.seek(0, 2) - _TAIL))
        return file.read().decode("utf-8", "replace").strip()


def _event(line: bytes) -> object:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("event") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]


def _listens(address: str) -> bool:
    try:
        open_channel(address, 1.0).close()
    except (NotRunning, TimeoutError):
        return False
    return True
