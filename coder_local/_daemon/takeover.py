"""`serve --take-over`: follow the daemon of a data directory, so that its clients are without one for a moment only.

The successor does what can be done beforehand: it imports, and looks whether it understands the data. Then it asks the
old one to go, waits for the lock, and only that; it never ends a process. What the old one has answered is committed
when its lock is free, and the programs of its runs go on in the hands of the next daemon.
"""

from __future__ import annotations

import importlib
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from coder_ipc.client import Client
from coder_ipc.errors import ConnectionLost, IpcError, NotRunning, RemoteError
from coder_local import __version__

from .lock import Lock

_WAIT = 30.0
"""Seconds for the old one to go: it gives what runs 10, its clients 2 to take their answers, then it checkpoints."""
_LOOK = 0.02


class TakeOverError(Exception):
    """The old daemon stays, or does not go; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Followed(NamedTuple):
    """The daemon that went."""

    pid: int
    incarnation: str
    version: str
    http: str | None

    @property
    def port(self) -> int:
        """The port of its HTTP, 0 for none: who kept its address finds the successor there."""
        return int(self.http.rpartition(":")[2]) if self.http else 0


def follow(folder: Path, lock: Lock, turn: Lock) -> Followed | None:
    """Take the lock of a data directory from the daemon that holds it, asking it to go; None when none held it.

    Both locks are held then. Raises `TakeOverError` when another successor is at it, when the daemon neither answers
    nor goes, or speaks another protocol; and `MigrationError` when this program does not understand its data, which is
    found before the old one is asked.
    """
    end = time.monotonic() + _WAIT
    followed: Followed | None = None
    while not turn.take():  # a daemon that starts holds it for a moment as well
        if time.monotonic() > end - _WAIT + 0.5:
            raise TakeOverError(f"another program takes {folder} over already", "attach to the daemon that comes of it")
        time.sleep(_LOOK)
    while not lock.take():
        if followed is None:
            followed = _ask(folder)
        if time.monotonic() > end:
            raise TakeOverError(*_stays(folder, followed))
        time.sleep(_LOOK)
    return followed


def _ask(folder: Path) -> Followed | None:
    """Ask the daemon to go; None when none answers yet, or any more."""
    try:
        with Client.connect(folder, name="coder-local successor") as client:
            _understand(folder)
            hello: dict[str, Any] = client.hello
            asked = {"incarnation": hello["incarnation"], "version": __version__}
            try:
                client.call("daemon.handover", asked, timeout=10)
            except RemoteError as error:
                if error.kind == "not_found":  # older than handing over
                    client.call("daemon.stop", {}, timeout=10)
                elif error.kind != "locked":  # it stops already
                    raise
            return Followed(hello["pid"], hello["incarnation"], hello["version"], hello["http"])
    except (NotRunning, ConnectionLost):
        return None
    except IpcError as error:
        raise TakeOverError(f"the daemon of {folder} was not followed: {error.message}", error.hint or _LOG) from error


_LOG = "look into its log"


def _stays(folder: Path, followed: Followed | None) -> tuple[str, str]:
    if followed is None:
        hint = "it may be starting; look at `coder-local status`"
        return f"another process holds {folder} and does not answer", hint
    return f"the daemon (pid {followed.pid}) was asked to go and is still there after {_WAIT:g} s", _LOG


def _understand(folder: Path) -> None:
    """Import what a daemon is made of, and raise `NewerData` if the database is beyond this program."""
    from coder_local._store import airlock, migrations  # noqa: PLC0415 - whoever only attaches needs none of it

    importlib.import_module(f"{__package__}.daemon")  # so that it is there when the lock is free
    try:
        connection = sqlite3.connect(f"{(folder / 'coder-local.db').as_uri()}?mode=ro", uri=True)
        try:
            done = migrations.applied(connection).get(airlock.CORE.plugin, [])
        finally:
            connection.close()
    except sqlite3.Error:
        return  # the old one has trouble with it as well; opening it tells more
    migrations.refuse_newer(airlock.CORE, done)
