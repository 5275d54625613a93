"""`status` and `stop`: the daemon's process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coder_ipc import runtime
from coder_ipc.errors import EXIT_CODES, ConnectionLost, NotRunning

from .app import Command
from .errors import Failure
from .tables import clean, table

if TYPE_CHECKING:
    from argparse import Namespace

    from coder_ipc.errors import IpcError

    from .parser import Parser
    from .session import Session

_STOP_LIMIT = 20.0
"""Seconds for a stop: the daemon gives work in progress 10, and then writes its checkpoint."""


def _status(session: Session, _: Namespace) -> int:
    try:
        client = session.attach()
    except (NotRunning, ConnectionLost) as error:  # lost: it was just ending
        return _not_running(session, error)
    state: dict[str, Any] = client.call("daemon.status", {}, session.settings.timeout)
    plugins = client.call("plugins.list", {}, session.settings.timeout)["items"]
    if session.output.as_json:
        session.output.json({**state, "plugins": plugins})
    else:
        session.output.text(_for_people(state, plugins))
    return 0


def _not_running(session: Session, error: IpcError) -> int:
    if session.output.as_json:
        session.output.json({"state": "stopped", "data_dir": str(session.settings.data_dir), "reason": error.message})
    else:
        session.output.text(f"stopped   {clean(error.message)}")
    return EXIT_CODES["not_found"]


def _for_people(state: dict[str, Any], plugins: list[dict[str, Any]]) -> str:
    lines = [
        f"{state['state']:<9} version {state['version']}, pid {state['pid']}, for {_length(state['uptime_seconds'])}",
        f"socket    {state['socket']}",
        f"http      {state['http'] or 'off'}",
        f"data      {state['data_dir']}",
    ]
    if migrating := state.get("migrating"):
        lines.insert(1, f"          {migrating['message']}")
    if state.get("safe"):
        lines.append("safe mode plugins of others are left out; coder-local stop, then start it without --safe")
    if damage := state.get("damage"):
        aside = f"; set aside in {damage['set_aside']}" if damage["set_aside"] else ""
        lines.append(f"damage    {damage['message']}{aside}")
        lines.append(f"          to go back: coder-local restore '{damage['snapshot']}'" if damage["snapshot"] else "")
        lines.append("          to keep what can be read of it: coder-local salvage" if damage["set_aside"] else "")
    shown = table(plugins, _width(), columns=("name", "version", "status", "reason"))
    return "\n".join([*(clean(line) for line in lines if line), "", shown])


def _width() -> int:
    from .output import width  # noqa: PLC0415 - for a terminal only

    return width()


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2]) or "0 s"


def _stop(session: Session, _: Namespace) -> int:
    stopped = stop(session)
    session.output.answer(
        {"stopped": stopped} if session.output.as_json else "stopped" if stopped else "no daemon runs"
    )
    return 0


def stop(session: Session) -> bool:
    """Stop the daemon and wait until its process has ended; False when none runs. Raises `Failure` if it stays."""
    from coder_ipc.spawn import wait_stopped  # noqa: PLC0415 - loads subprocess

    found = runtime.read(session.settings.data_dir)
    try:
        with suppress(ConnectionLost):  # it may be gone before its answer is
            session.attach().call("daemon.stop", {}, session.settings.timeout)
    except NotRunning:
        return False
    finally:
        session.close()
    if found is not None and not wait_stopped(found, session.settings.timeout or _STOP_LIMIT):
        raise Failure(
            "timeout",
            f"the daemon (pid {found.pid}) has been asked to stop and still runs",
            hint="look into its log; it may wait for a long command",
        )
    return True


def _nothing(_: Parser) -> None:
    """Take no arguments."""


COMMANDS = {
    "status": Command(_nothing, _status, "Exits with 3 when no daemon runs."),
    "stop": Command(_nothing, _stop, "Waits until its process has ended. What runs gets 10 seconds to finish."),
}
