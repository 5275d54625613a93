"""`daemon handover`: another version takes the place of the daemon that runs, or the old one stays.

The new program is asked for its version before anything happens, and does the rest itself (`serve --take-over`). Here
it is seen to that a daemon runs afterwards: the new one, when it answers by that version and another incarnation; else
the old one, which goes on where it was not asked to go yet, and is started again where it was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from coder_ipc import process, program, runtime, spawn
from coder_ipc.client import Client
from coder_ipc.errors import CallTimeout, IpcError, NotRunning

from .app import Command
from .errors import Failure, invalid
from .waiting import NotReady, wait_ready

if TYPE_CHECKING:
    from argparse import Namespace

    from .parser import Parser
    from .session import Session

_LIMIT = 90.0
"""Seconds for the new one to say its line: the old one may take 12 to go. What comes after it has no fixed limit."""
_VERSION_LIMIT = 30.0
_STATUS_LIMIT = 10.0
"""Seconds for the old one to answer, unless `--timeout` says otherwise."""
_SLACK = 2.0
"""Seconds that a start time may differ from what was written down."""
_ABOUT = """\
PROGRAM is the new version, with its arguments behind it if it needs some; without it, this one. Programs of runs go on
meanwhile, and clients come back with their cursors. If the new one cannot start, the old one is there afterwards.

  /opt/new/coder-local daemon handover
  coder-local daemon handover /opt/new/coder-local
  coder-local daemon handover -- python -P -m coder_local
"""


class Old(NamedTuple):
    """The daemon that is to go, as it was when it was asked."""

    found: runtime.Runtime
    program: list[str]
    options: list[str]


def _arguments(parser: Parser) -> None:
    parser.add_argument("program", metavar="PROGRAM", nargs="*", help="the program that takes over, and its arguments")
    parser.add_argument("--force", action="store_true", help="end the process of an old daemon that does not answer")


def _handover(session: Session, arguments: Namespace) -> int:
    new: list[str] = arguments.program or program.command()
    version = version_of(new)
    began = time.monotonic()
    old = _captured(session, force=arguments.force)
    session.output.note(f"version {version} takes over from version {old.found.version}, pid {old.found.pid}")
    found = _follow(session, old, new, version)
    answer = {"from": _about(old.found), "to": _about(found), "seconds": round(time.monotonic() - began, 3)}
    text = f"version {found.version}, pid {found.pid}, has taken over from {old.found.version}, pid {old.found.pid}"
    session.output.answer(answer if session.output.as_json else text)
    return 0


def version_of(command: list[str]) -> str:
    """Return the version that a program says it has. Raises `Failure` when it is none of ours, or does not run."""
    hint = "give the path of a coder-local that works; nothing was changed"
    try:
        asked = subprocess.run(  # noqa: S603 - the person's own program
            [*command, "--version"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_VERSION_LIMIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise invalid(f"{command[0]} cannot be run: {fault}", field="/program", hint=hint) from fault
    name, _, version = asked.stdout.strip().partition(" ")
    if asked.returncode or name != "coder-local" or not version:
        said = (asked.stderr or asked.stdout).strip()[-500:]
        raise invalid(
            f"{command[0]} is no coder-local that works (exit code {asked.returncode}): {said}",
            field="/program",
            hint=hint,
        )
    return version


def _captured(session: Session, *, force: bool) -> Old:
    """Return the daemon that runs. One that does not answer is ended with `force`, and only if it is that very one."""
    folder = session.settings.data_dir
    limit = session.settings.timeout or _STATUS_LIMIT
    found = runtime.read(folder)
    try:
        with Client.connect(folder, limit) as client:
            status: dict[str, Any] = client.call("daemon.status", {}, limit)
            found = runtime.read(folder) or found
    except NotRunning as error:
        raise Failure(
            "not_found", f"there is nobody to take over from: {error.message}", hint="start one with: coder-local serve"
        ) from error
    except CallTimeout as error:
        if found is None:
            raise
        if not force:
            raise Failure(
                "timeout",
                f"the daemon (pid {found.pid}) does not answer: {error.message}",
                hint="try again; or give --force, which ends that process",
            ) from error
        _end(found)
        return Old(found, program.command(), [])
    if found is None:
        raise Failure("conflict", "the daemon is just stopping", hint="try again in a moment")
    return Old(found, *_again(status))


def _again(status: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the program and the options of a daemon; an older one does not tell them."""
    return status.get("program") or program.command(), status.get("options") or []


def _end(found: runtime.Runtime) -> None:
    """End the process of a daemon, if it is the one that wrote `runtime.json` and no other has its pid now."""
    started = process.started_at(found.pid)
    if started is None or abs(started - found.process_started_at) > _SLACK:
        raise Failure(
            "conflict",
            f"the process {found.pid} is not the daemon that was found, so it is left alone",
            hint="look with `coder-local doctor` who holds the data directory",
        )
    os.kill(found.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    spawn.wait_stopped(found, _LIMIT)


def _follow(session: Session, old: Old, new: list[str], version: str) -> runtime.Runtime:
    folder = session.settings.data_dir
    options = ["--take-over", *old.options]
    try:
        found = spawn.start(folder, new, _LIMIT, options=options)
        wait_ready(folder)
    except NotReady:
        raise  # it runs, so that the old one cannot be started again
    except (IpcError, OSError) as error:
        told = error.message if isinstance(error, IpcError) else str(error)
        became, ran = _back(session, old)
        raise _failure(f"version {version} did not take over: {told}", became, ran=ran) from error
    if found.incarnation == old.found.incarnation or found.version != version:
        told = f"version {found.version} (pid {found.pid}) answers"
        raise _failure(f"version {version} did not take over: {told}", "that one runs", ran=True)
    return found


def _back(session: Session, old: Old) -> tuple[str, bool]:
    """See to it that a daemon runs, after the new one failed; return what became of it, and whether one runs."""
    folder = session.settings.data_dir
    try:
        with Client.connect(folder) as client:
            status = client.call("daemon.status", {}, _STATUS_LIMIT)
        if status["state"] != "stopping":
            stayed = status["incarnation"] == old.found.incarnation
            return "the old one goes on" if stayed else "another one runs", True
    except IpcError:
        pass  # it has gone, or is just going
    for each in (old.found, runtime.read(folder)):  # the new one may be just going as well
        if each is not None:
            spawn.wait_stopped(each, _LIMIT)
    try:
        found = spawn.attach_or_spawn(folder, [*old.program, *old.options], _LIMIT)
    except (IpcError, OSError) as error:
        return f"the old one could not be started again: {error}", False
    return f"the old one was started again (pid {found.pid})", True


def _failure(message: str, became: str, *, ran: bool) -> Failure:
    hint = f"{became}; mend the new one, then try again" if ran else f"no daemon runs: {became}"
    return Failure("broken", message, hint=hint, data={"running": ran})


def _about(found: runtime.Runtime) -> dict[str, Any]:
    return {"version": found.version, "pid": found.pid, "incarnation": found.incarnation}


COMMANDS = {"daemon handover": Command(_arguments, _handover, _ABOUT)}
