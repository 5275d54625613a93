"""The data directory itself: who may look in, what was left behind, on what file system it lies."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coder_ipc import process, runtime
from coder_local._daemon import mount
from coder_local._store import backup, keeping
from coder_local._store.exchange import family

from .finding import Check, Finding, State, problem

_OLD = 3600.0
"""Seconds after which a file that is written in one go counts as left behind."""
_SECRET = {"runtime.json": 0o077, "settings.toml": 0o022, "daemon.lock": 0o022}
"""Files of the data directory, and what nobody else may do with them."""


def permissions(folder: Path) -> Check:
    """Look at who else may enter the data directory, or write to what is run from it."""
    if os.name != "posix":
        return
    open_folder = stat.S_IMODE(folder.stat().st_mode) & 0o077
    if open_folder:
        yield _closing(folder, 0o700, f"other users may enter {folder}", state="error")
    for name, forbidden in _SECRET.items():
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & forbidden:
            yield _closing(path, 0o600, f"other users may use {path}", state="error" if open_folder else "warning")
    for path in _writable(folder / "plugins"):
        mode = stat.S_IMODE(path.stat().st_mode) & ~0o022
        yield _closing(path, mode, f"other users may write to {path}, which runs as you", state="error")


def _closing(path: Path, mode: int, message: str, *, state: State) -> Any:
    def mend() -> str:
        path.chmod(mode)
        return f"{path} has mode {mode:o} now"

    fix = f"chmod {mode:o} '{path}'"
    return problem("permissions", message, fix, state=state, fix=fix, mend=mend)


def _writable(plugins: Path) -> Iterator[Path]:
    """Yield the folder of plugins, and what is in it, where others may write; links are not followed."""
    if not plugins.is_dir():
        return
    for path in (plugins, *sorted(plugins.rglob("*"))):
        if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o022:
            yield path


def leftovers(folder: Path) -> Check:
    """Look for files that a process which was killed had begun to write; none of them holds anything of its own."""
    found = [path for path in _parts(folder) if time.time() - path.stat().st_mtime > _OLD]
    if not found:
        return
    size = sum(each.stat().st_size for path in found for each in (path, *path.rglob("*")))

    def mend() -> str:
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return f"{len(found)} of them were deleted"

    message = f"{len(found)} unfinished copies take {size / 2**20:.1f} MiB, the first {found[0].name}"
    yield problem("leftovers", message, "they were cut off; delete them", fix="delete the unfinished copies", mend=mend)


def _parts(folder: Path) -> list[Path]:
    patterns = (
        ".*.part", ".*.restore", ".*.restore-journal", ".*.part-journal", f".{runtime.RUNTIME_FILE}.*",
        ".salvage-*", ".doctor-*",
    )  # fmt: skip
    places = [folder, folder / "snapshots", folder / "logs"]
    return sorted({path for place in places if place.is_dir() for pattern in patterns for path in place.glob(pattern)})


def abandoned(folder: Path) -> Check:
    """Look for what a daemon that was killed left behind; only where none runs, with its lock held."""
    if sys.platform == "win32":
        return
    found = runtime.read(folder)
    sockets = {Path(runtime.socket_path(folder)), *([Path(found.socket)] if found else [])}
    left = [path for path in sorted(sockets) if path.is_socket() and not answers(path)]
    if found is not None and _ended(found):
        left.append(folder / runtime.RUNTIME_FILE)
    if not left:
        return

    def mend() -> str:
        for path in left:
            path.unlink(missing_ok=True)
        return "they were deleted"

    whose = f" of a daemon (pid {found.pid}) that has ended" if found is not None else ""
    message = f"not running; {', '.join(map(str, left))}{whose} left behind"
    yield problem("daemon", message, "harmless: the next start replaces it", fix="delete what is left", mend=mend)


def _ended(found: runtime.Runtime) -> bool:
    started = process.started_at(found.pid)
    return started is None or abs(started - found.process_started_at) > 1.0


def answers(path: Path) -> bool:
    """Tell whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # whoever it is takes no connection just now
        except OSError:
            return False
        return True


def log_left(folder: Path) -> Check:
    """Look for a write-ahead log that no start has taken over yet; only where no daemon runs, with its lock held."""
    database = folder / "coder-local.db"
    log = database.with_name(database.name + "-wal")
    if not log.exists() or log.stat().st_size == 0 or not database.exists():
        return

    def mend() -> str:
        from coder_local._store.connection import open_writer  # noqa: PLC0415 - for this cure only

        writer = open_writer(database)
        try:
            busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            writer.close()
        return "another program reads it; it stays" if busy else "it was written into the database"

    message = f"the write-ahead log holds {log.stat().st_size / 2**20:.1f} MiB that are not in the database file yet"
    hint = "nothing is lost: the next start reads it"
    yield problem("log", message, hint, fix="write it into the database", mend=mend)


def disk(folder: Path) -> Check:
    """Look at what the data directory lies on."""
    found = mount.kind(folder)
    if found.read_only:
        message = f"{folder} lies on {found.place}, which is mounted read-only"
        yield Finding(check="mount", state="error", message=message, hint="mount it to be written, or use --data-dir")
    if found.network:
        message = f"{folder} lies on a file system of a network ({found.type}, {found.place}): its locks may not hold"
        yield Finding(check="mount", state="error", message=message, hint="move it to a disk of this machine")


def keyring() -> Check:
    """Look whether the system keeps secrets; nothing needs it as yet."""
    message = ""
    try:
        backend: Any = importlib.import_module("keyring").get_keyring()
        words = f"{type(backend).__module__}.{type(backend).__name__}"
        backends = getattr(backend, "backends", [backend])  # a chain of them
        if not backends or words.startswith(("keyring.backends.fail.", "keyring.backends.null.")):
            message = "this system has no keyring that can be used"
    except Exception as error:  # noqa: BLE001 - a backend may fail in any way of its own
        message = f"the keyring of this system cannot be used: {type(error).__name__}"
    if message:
        hint = "no secret is kept there as yet; those that will be will need a file with a passphrase instead"
        yield Finding(check="keyring", state="warning", message=message, hint=hint)


def snapshots(folder: Path) -> Check:
    """Look whether each snapshot is whole; one that is not is of no use, and hides that a good one is missing."""
    for path in backup.snapshots(folder / "snapshots"):
        faults = backup.check(path)
        keeping.note(path, faults)
        if not faults:
            continue

        def mend(path: Path = path) -> str:
            aside = folder / "quarantine" / path.stem
            aside.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file in reversed(family(path)):  # itself last: after a kill in between it is found again
                file.rename(aside / file.name)
            return f"it lies in {aside} now"

        message, hint = f"{path.name} is not whole: {faults[0]}", "then make another: coder-local store snapshot"
        yield problem("snapshots", message, hint, fix=f"put it into quarantine/{path.stem}", mend=mend)
