"""`coder-local serve`: attach to the daemon of the data directory, or become it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from coder_ipc import runtime
from coder_ipc.errors import IpcError, RemoteError
from coder_local import __version__

from . import boot, directory, place
from .lock import Lock, successor, take_between

EXIT_OK = 0
EXIT_LOCKED = 8
"""Another process holds the data directory, and does not answer, or does not go for the one that takes over."""
EXIT_DATA = 65
"""The data was written by a newer version, or cannot be brought up to date; it is as it was."""
EXIT_BROKEN = 70
"""It could not start, or a command did not come to an end when it stopped; the log tells which."""
EXIT_NO_DIRECTORY = 73
"""The data directory, or the place of the socket, cannot be made or written."""

_ATTACH_WAIT = 15.0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coder_local.api import Error


class ServeOptions(NamedTuple):
    """What `serve` was asked for."""

    data_dir: Path
    socket: str | None = None
    """Address instead of the data directory's own."""
    http_port: int | None = 0
    """Port on loopback, 0 for any, None for no HTTP."""
    parent_pid: int | None = None
    watch_stdin: bool = False
    linger: float | None = None
    """Seconds to stay after the last client; None to stay until stopped."""
    log_level: str = "INFO"
    safe: bool = False
    """Whether to leave the plugins of others out."""
    take_over: bool = False
    """Follow the daemon that runs, instead of attaching to it."""
    allow_network: bool = False
    """Take a data directory on a network drive."""
    http_wish: int = 0
    """Port to try first when any would do."""


def serve(options: ServeOptions) -> int:
    """Print the one ready line and serve until stopped; return the exit code."""
    folder = options.data_dir
    try:
        folder = directory.prepare(folder, allow_network=options.allow_network)
        lock, turn = Lock(folder), successor(folder)
        taken = not options.take_over and take_between(lock, turn)
    except (OSError, directory.DirectoryError) as error:
        known = error if isinstance(error, directory.DirectoryError) else directory.cannot(folder, error)
        return _failed(known, known.hint, EXIT_NO_DIRECTORY)
    try:
        if options.take_over:
            options = _follow(options, folder, lock, turn)
        elif not taken and (code := _attach(folder, lock, turn, safe=options.safe)) is not None:
            return code
        return _traced(options._replace(data_dir=folder), turn.release)
    except _Ended as end:
        return end.code
    finally:
        lock.release()
        turn.release()


def _traced(options: ServeOptions, answering: Callable[[], None]) -> int:
    """Serve, and keep a trace of how far the start came."""
    boot.begin(options.data_dir, __version__)
    code = EXIT_BROKEN
    try:
        address = None if options.socket is None else place.usable(options.socket)
        code = _run(options._replace(socket=address), answering)
    except place.PlaceError as error:
        code = _failed(error, error.hint, EXIT_NO_DIRECTORY)
    finally:
        boot.end(code)
    return code


class _Ended(Exception):
    """The daemon is not to run; what is to be said is said."""

    def __init__(self, code: int) -> None:
        self.code = code


def _failed(error: object, hint: str, code: int) -> int:
    print(f"error: {error}\nhint: {hint}", file=sys.stderr)
    return code


def _follow(options: ServeOptions, folder: Path, lock: Lock, turn: Lock) -> ServeOptions:
    """Take the place of the daemon that runs; return the options, with the port of its HTTP to try first."""
    from coder_local._store.migrations import MigrationError  # noqa: PLC0415 - for this option only

    from . import takeover  # noqa: PLC0415 - see above

    try:
        followed = takeover.follow(folder, lock, turn)
    except takeover.TakeOverError as error:
        raise _Ended(_failed(error, error.hint, EXIT_LOCKED)) from None
    except MigrationError as error:
        raise _Ended(_no_migration(folder, error)) from None
    except OSError as error:  # of a lock
        known = directory.cannot(folder, error)
        raise _Ended(_failed(known, known.hint, EXIT_NO_DIRECTORY)) from None
    return options if followed is None else options._replace(http_wish=followed.port)


def _attach(folder: Path, lock: Lock, turn: Lock, *, safe: bool) -> int | None:
    """Print the line of the daemon that holds the directory, waiting while it starts; None if it left us the lock."""
    from coder_ipc import spawn  # noqa: PLC0415 - a daemon that starts needs none of it

    end = time.monotonic() + _ATTACH_WAIT
    while True:
        try:
            found, hello = spawn.greet(folder)
        except IpcError as error:
            if isinstance(error, RemoteError):  # it answers, and will say the same again
                message = f"the daemon of {folder} was not attached to: {error.message}"
                return _failed(message, error.hint or "look into its log", EXIT_LOCKED)
            if take_between(lock, turn):
                return None
            if time.monotonic() > end:
                message = f"another process holds {folder} and does not answer: {error}"
                return _failed(message, "it may be starting or stopping; look at `coder-local status`", EXIT_LOCKED)
            time.sleep(0.05)
        else:
            state, is_safe = str(hello.get("state", "")), safe and _is_safe(folder)
            if state == "migrating":
                _say_migrating(folder)
            if safe and not is_safe:
                print(f"warning: the daemon that runs (pid {found.pid}) is not in safe mode", file=sys.stderr)
                print("hint: coder-local stop, then start it again with --safe", file=sys.stderr)
            say("attached", found, state, safe=is_safe)
            return EXIT_OK


def _say_migrating(folder: Path) -> None:
    """Print on standard error what the daemon does before it can take work."""
    from coder_ipc.client import Client  # noqa: PLC0415 - only then

    with contextlib.suppress(IpcError), Client.connect(folder) as client:
        step = client.call("daemon.status", {}, 5.0).get("migrating")
        if step is not None:
            print(step["message"], file=sys.stderr)


def _is_safe(folder: Path) -> bool:
    from coder_ipc.client import Client  # noqa: PLC0415 - only who asks for safe mode needs to know

    try:
        with Client.connect(folder) as client:
            return bool(client.call("daemon.status", {}, _ATTACH_WAIT).get("safe"))
    except IpcError:
        return False  # it is just stopping


def say(event: str, found: runtime.Runtime, state: str = "", *, safe: bool = False) -> None:
    """Print the one line that a parent reads from standard output; `migrating` and `safe` are in it when it is so."""
    line: dict[str, object] = {
        "event": event,
        "protocol": found.protocol,
        "version": found.version,
        "incarnation": found.incarnation,
        "pid": found.pid,
        "socket": found.socket,
        "http": found.http,
        "data_dir": str(found.data_dir),
        **({"state": state} if state == "migrating" else {}),
        **({"safe": True} if safe else {}),
    }
    try:
        print(msgspec.json.encode(line).decode(), flush=True)
    except OSError:  # nobody reads our standard output; who wants to know reads runtime.json
        with contextlib.suppress(OSError):  # what was not written is tried again at the end, and would make it exit 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: ServeOptions, answering: Callable[[], None]) -> int:
    from coder_local._store.migrations import MigrationError  # noqa: PLC0415 - attaching needs none of it
    from coder_local.api import Locked  # noqa: PLC0415 - attaching needs none of it

    from .daemon import Daemon  # noqa: PLC0415 - attaching needs none of it

    os.umask(0o077)  # whatever the daemon writes is its owner's alone
    os.chdir(options.data_dir)  # the folder it was started from must not be held, nor matter
    try:
        return asyncio.run(Daemon(options, answering).run())
    except Locked as error:
        message = f"the database in {options.data_dir} cannot be opened: {error.message}"
        return _failed(message, error.hint or "look who else uses it, and at its permissions", EXIT_NO_DIRECTORY)
    except MigrationError as error:
        return _no_migration(options.data_dir, error)
    except Exception:
        logging.getLogger("coder_local.daemon").critical("the daemon cannot run", exc_info=True)
        return EXIT_BROKEN


def _no_migration(folder: Path, error: Error) -> int:
    message = f"the database in {folder} cannot be used: {error.message}"
    return _failed(message, error.hint or "install the version that wrote it", EXIT_DATA)
