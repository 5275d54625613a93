"""Waiting for a daemon that has said its line and is not ready: it loads plugins, or migrates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from coder_ipc import runtime
from coder_ipc.client import Client
from coder_ipc.errors import CallTimeout

from .errors import Failure

if TYPE_CHECKING:
    from pathlib import Path

STILL = {"starting": 90.0, "migrating": 900.0}
"""Seconds without progress after which a start is given up, by its state. An import is ended after 30; but the commit
of a large database, and the look at whether its snapshot is whole, count nothing while they work."""
_ANSWER = 10.0
_LOOK = 0.05


class NotReady(Failure):
    """A daemon runs, and its start goes no further."""


def wait_ready(folder: Path) -> None:
    """Wait until the daemon of a data directory has come to the end of its start, however long that takes.

    Each progress gives it its time anew. Raises `NotReady` when there was none for `STILL` seconds; the daemon is left
    alone. Raises as `Client.connect` and `Client.call` do when it has ended.
    """
    state, step = "starting", ""
    seen: object = None
    since = time.monotonic()
    while True:
        status = _status(folder)
        if status is not None:
            if status["state"] not in STILL:
                return
            migrating: dict[str, Any] = status.get("migrating") or {}
            state, step = str(status["state"]), str(migrating.get("message", ""))
            if (mark := _mark(status)) != seen:
                seen, since = mark, time.monotonic()
        if time.monotonic() - since > STILL[state]:
            raise _not_ready(folder, state if status else "not answering", step, STILL[state])
        time.sleep(_LOOK)


def _status(folder: Path) -> dict[str, Any] | None:
    """Return what the daemon says of itself; None when it does not answer in time."""
    try:
        with Client.connect(folder, _ANSWER) as client:
            found: dict[str, Any] = client.call("daemon.status", {}, _ANSWER)
            return found
    except CallTimeout:
        return None


def _mark(status: dict[str, Any]) -> object:
    """Return what of a status changes when the start gets on, and at no other time: seconds are left out."""
    step: dict[str, Any] = status.get("migrating") or {}
    at_work: dict[str, str] = status.get("at_work") or {}
    counts = [step.get(name) for name in ("plugin", "step", "done", "instructions", "fraction")]
    plugins = [status.get(name) for name in ("plugins_loaded", "plugins_stopped")]
    return status["state"], counts, plugins, sorted(at_work)


def _not_ready(folder: Path, state: str, step: str, seconds: float) -> NotReady:
    from coder_local._daemon.boot import FILE  # noqa: PLC0415 - for this error only

    found = runtime.read(folder)
    who = "the new daemon" if found is None else f"the new daemon (version {found.version}, pid {found.pid})"
    where = f"{state}, {step}" if step else state
    return NotReady(
        "timeout",
        f"{who} is not ready: {where}; nothing has moved for {seconds:g} s, and it is left running",
        hint=f"look with `coder-local doctor --boot` how far its start came (the trace is {folder / 'logs' / FILE}); "
        "to go back, end it with `coder-local stop` and start the old program",
        data={"running": True},
    )
