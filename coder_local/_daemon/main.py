"""`coder-local serve`: attach to the daemon of the data directory, or become it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from coder_ipc import runtime
from coder_ipc.errors import IpcError

from . import place
from .lock import Lock

EXIT_OK = 0
EXIT_LOCKED = 8
"""Another process holds the data directory, and does not answer."""
EXIT_DATA = 65
"""The data was written by a newer version, or cannot be brought up to date; it is as it was."""
EXIT_BROKEN = 70
"""It could not start, or a command did not come to an end when it stopped; the log tells which."""
EXIT_NO_DIRECTORY = 73
"""The data directory, or the place of the socket, cannot be made or written."""

_ATTACH_WAIT = 15.0


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


def serve(options: ServeOptions) -> int:
    """Print the one ready line and serve until stopped; return the exit code."""
    folder = options.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        if os.name == "posix":
            folder.chmod(0o700)
        lock = Lock(folder)
        taken = lock.take()
    except OSError as error:
        print(f"error: the data directory {folder} cannot be used: {error}", file=sys.stderr)
        print("hint: check its permissions, or give another with --data-dir", file=sys.stderr)
        return EXIT_NO_DIRECTORY
    if not taken and (code := _attach(folder, lock, safe=options.safe)) is not None:
        return code
    try:
        address = None if options.socket is None else place.usable(options.socket)
        return _run(options._replace(data_dir=folder, socket=address))
    except place.PlaceError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return EXIT_NO_DIRECTORY
    finally:
        lock.release()


def _attach(folder: Path, lock: Lock, *, safe: bool) -> int | None:
    """Print the line of the daemon that holds the directory, waiting while it starts; None if it left us the lock."""
    from coder_ipc import spawn  # noqa: PLC0415 - a daemon that starts needs none of it

    end = time.monotonic() + _ATTACH_WAIT
    while True:
        try:
            found = spawn.attach(folder)
        except IpcError as error:
            if lock.take():
                return None
            if time.monotonic() > end:
                print(f"error: another process holds {folder} and does not answer: {error}", file=sys.stderr)
                print("hint: it may be starting or stopping; look at `coder-local status`", file=sys.stderr)
                return EXIT_LOCKED
            time.sleep(0.05)
        else:
            is_safe = safe and _is_safe(folder)
            if safe and not is_safe:
                print(f"warning: the daemon that runs (pid {found.pid}) is not in safe mode", file=sys.stderr)
                print("hint: coder-local stop, then start it again with --safe", file=sys.stderr)
            say("attached", found, safe=is_safe)
            return EXIT_OK


def _is_safe(folder: Path) -> bool:
    from coder_ipc.client import Client  # noqa: PLC0415 - only who asks for safe mode needs to know

    try:
        with Client.connect(folder) as client:
            return bool(client.call("daemon.status", {}, _ATTACH_WAIT).get("safe"))
    except IpcError:
        return False  # it is just stopping


def say(event: str, found: runtime.Runtime, *, safe: bool = False) -> None:
    """Print the one line that a parent reads from standard output; `safe` is in it only when it is so."""
    line: dict[str, object] = {
        "event": event,
        "protocol": found.protocol,
        "version": found.version,
        "incarnation": found.incarnation,
        "pid": found.pid,
        "socket": found.socket,
        "http": found.http,
        "data_dir": str(found.data_dir),
        **({"safe": True} if safe else {}),
    }
    with contextlib.suppress(OSError):  # nobody reads our standard output; who wants to know reads runtime.json
        print(msgspec.json.encode(line).decode(), flush=True)


def _run(options: ServeOptions) -> int:
    from coder_local._store.migrations import MigrationError  # noqa: PLC0415 - attaching needs none of it
    from coder_local.api import Locked  # noqa: PLC0415 - attaching needs none of it

    from .daemon import Daemon  # noqa: PLC0415 - attaching needs none of it

    os.umask(0o077)  # whatever the daemon writes is its owner's alone
    os.chdir(options.data_dir)  # the folder it was started from must not be held, nor matter
    try:
        return asyncio.run(Daemon(options).run())
    except Locked as error:
        print(f"error: the database in {options.data_dir} cannot be opened: {error.message}", file=sys.stderr)
        print(f"hint: {error.hint or 'look who else uses it, and at its permissions'}", file=sys.stderr)
        return EXIT_NO_DIRECTORY
    except MigrationError as error:
        print(f"error: the database in {options.data_dir} cannot be used: {error.message}", file=sys.stderr)
        print(f"hint: {error.hint or 'install the version that wrote it'}", file=sys.stderr)
        return EXIT_DATA
    except Exception:
        logging.getLogger("coder_local.daemon").critical("the daemon cannot run", exc_info=True)
        return EXIT_BROKEN
