"""A real daemon for tests: a process of its own, on a data directory of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from coder_ipc import IpcError, program, spawn
from coder_ipc.client import Client
from coder_ipc.runtime import Runtime

_STOP_LIMIT = 20.0
"""Seconds that a stop may take: the daemon gives its commands 10."""


class RunningDaemon(NamedTuple):
    """A daemon that answers."""

    data_dir: Path
    runtime: Runtime
    """Where it is: `socket`, `http`, `token`, `pid`."""

    def client(self) -> Client:
        """Connect to it; use it in a `with` block."""
        return Client.connect(self.data_dir)

    def call(self, name: str, /, **input: Any) -> Any:
        """Run one operation on a connection of its own. Raises `coder_ipc.RemoteError` for a named error."""
        with self.client() as client:
            return client.call(name, input)


def command() -> list[str]:
    """Return the command line that `serve` and its options are put after."""
    return program.command()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment in which a child imports what this process can import."""
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", **(extra or {})}


@contextmanager
def running(
    data_dir: Path, *, prepare: Sequence[Callable[[Path], None]] = (), env: Mapping[str, str] | None = None
) -> Generator[RunningDaemon]:
    """Start a daemon on a data directory, and stop it at the end of the block.

    `prepare` are called with the data directory before the start, say to put a plugin into its folder `plugins`.
    Raises `coder_ipc.spawn.SpawnError` with the end of its log if it does not start.
    """
    for each in prepare:
        each(data_dir)
    found = spawn.attach_or_spawn(data_dir, command(), env=environment(env))
    try:
        yield RunningDaemon(data_dir, found)
    finally:
        stop(data_dir, found)


def stop(data_dir: Path, found: Runtime) -> None:
    """Ask the daemon to stop, and end it if it does not."""
    try:
        with Client.connect(data_dir) as client:
            client.call("daemon.stop")
    except IpcError:
        pass  # it is gone already, as some tests want it
    if not spawn.wait_stopped(found, _STOP_LIMIT):
        os.kill(found.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        spawn.wait_stopped(found, _STOP_LIMIT)
