"""`daemon.*`: how the process is, what is wrong with its data, and stopping it."""

from __future__ import annotations

import importlib
import logging
import os
import sqlite3
import sys
import time
from typing import Any, Literal

from coder_ipc import program
from coder_local import __version__
from coder_local._daemon.repair.finding import Report
from coder_local._daemon.repair.references import declared
from coder_local._registry.kernel import Kernel
from coder_local._registry.settings import DaemonSettings
from coder_local._store import backup
from coder_local._store.clock import instant
from coder_local._store.progress import Migrating
from coder_local._transports.jsonrpc.session import PROTOCOL
from coder_local.api import Context, Domain, Instant, Safety, Snapshot, Unsupported, Value

from . import handover, repair
from .work import apart

LogLevel = Literal["debug", "info", "warning", "error"]


class Damage(Value):
    """What happened to a damaged database."""

    message: str
    set_aside: str | None
    """Folder that the damaged file was put into at this start; null while it is still in place."""
    snapshot: str | None
    """The newest whole snapshot; `coder-local restore` puts it in place."""


class DaemonStatus(Value):
    """How the daemon is."""

    version: str
    protocol: int
    state: str
    """`starting`, `migrating`, `ready`, `stopping`, or `embedded` when there is no daemon around the operations."""
    pid: int
    incarnation: str | None
    """Differs for each start."""
    started_at: Instant | None
    uptime_seconds: float | None
    data_dir: str | None
    """Null when all is kept in memory."""
    socket: str | None
    http: str | None
    """Null when HTTP is off."""
    clients: int
    """Connections that stay open."""
    running: int
    """Commands and actions that have not been answered."""
    waiting: int
    """Commands that wait for the writer."""
    event_head: str
    """Cursor of the newest event."""
    subscribers: int
    plugins_loaded: int
    plugins_stopped: int
    """Plugins that should be loaded and are not: see `plugins.list`."""
    at_work: dict[str, str]
    """What plugins do that is not done yet, by name: importing or starting, and for how long."""
    memory_bytes: int
    """Resident memory of the process."""
    sqlite_version: str
    python_version: str
    program: list[str]
    """Words that start this very program; `serve` and the like stand behind them."""
    options: list[str]
    """Options of `serve` that start this daemon again as it is, its data directory left out."""
    safe: bool = False
    """Whether the plugins of others are left out: `serve --safe`."""
    damage: Damage | None = None
    migrating: Migrating | None = None
    """The migration that runs: at a start, or of a plugin that was just enabled."""


class Stopping(Value):
    """The daemon is about to stop."""

    pid: int


class LogLevels(Value):
    """What the log takes."""

    level: LogLevel
    previous: LogLevel


def declare(kernel: Kernel) -> Domain:
    """Return the domain, and let the log follow its setting."""
    domain = Domain("daemon")
    domain.settings(DaemonSettings)
    kernel.settings.listeners.append(_log_follows(kernel))
    handover.add(domain, kernel)
    damage = _DamageNotice(kernel)

    @domain.query("daemon.status")
    def status(read: Snapshot) -> DaemonStatus:  # noqa: ARG001
        """Say how the daemon is: version, process, addresses, load, and whether its database was damaged."""
        return _status(kernel, damage.current())

    @domain.action("daemon.stop", safety=Safety.WRITE, person_only=True)
    async def stop(ctx: Context) -> Stopping:  # noqa: ARG001
        """Let the daemon stop: it takes no new work, ends or parks what runs within 10 s, and leaves whole data.

        Nothing is lost by it and the next client starts it again, so no confirmation is asked; agents may not call it.
        """
        if kernel.host is None:
            raise Unsupported("there is no daemon around these operations to stop")
        kernel.host.stop()
        return Stopping(pid=os.getpid())

    @domain.action("daemon.doctor", safety=Safety.READ)
    async def doctor(ctx: Context) -> Report:  # noqa: ARG001
        """Look for what is wrong: database, tables, references, plugins, settings, permissions, snapshots, disk.

        Reads the whole database on a connection of its own; changes nothing, and everything else goes on. What a
        finding says under `fix` is what `daemon.repair` would do about it.
        """
        from .doctor import examine, health_checks  # noqa: PLC0415 - 5 ms, and not at every start

        tables, references, health = kernel.registry.tables.all(), declared(kernel.registry), health_checks(kernel)
        return await apart(lambda: examine(kernel, tables, references, health))

    repair.declare(kernel, domain)

    @domain.action("daemon.log_level", safety=Safety.WRITE)
    async def log_level(ctx: Context, *, level: LogLevel | None = None) -> LogLevels:  # noqa: ARG001
        """Set what the log takes until the daemon stops, or only tell; `settings.set` on `daemon.log_level` stays."""
        previous = _level()
        if level is not None:
            logging.getLogger().setLevel(level.upper())
        return LogLevels(level=_level(), previous=previous)

    return domain


def _status(kernel: Kernel, damage: Damage | None) -> DaemonStatus:
    host, store, feed = kernel.host, kernel.store, kernel.feed
    plugins = list(kernel.registry.plugins.values())
    step = store.airlock.progress.current
    return DaemonStatus(
        version=__version__,
        protocol=PROTOCOL,
        state="embedded" if host is None else host.state,
        pid=os.getpid(),
        incarnation=None if host is None else host.incarnation,
        started_at=None if host is None else instant(round(host.started_at * 1000)),
        uptime_seconds=None if host is None else round(max(0.0, time.time() - host.started_at), 3),
        data_dir=None if store.folder is None else str(store.folder),
        socket=None if host is None else host.socket,
        http=None if host is None else host.http,
        clients=kernel.clients.count,
        running=kernel.dispatcher.busy + kernel.dispatcher.streams,
        waiting=store.writer.waiting,
        event_head=f"{feed.epoch}:{feed.head}",
        subscribers=len(feed),
        plugins_loaded=sum(plugin.loaded for plugin in plugins),
        plugins_stopped=sum(plugin.status.startswith(("stopped", "quarantined")) for plugin in plugins),
        at_work={plugin.name: plugin.at_work for plugin in plugins if plugin.at_work},
        memory_bytes=_memory(),
        sqlite_version=sqlite3.sqlite_version,
        python_version=sys.version.split(" ", 1)[0],
        program=program.command(),
        options=[] if host is None else host.again,
        safe=kernel.safe,
        damage=damage,
        migrating=None if step is None else step.told(),
    )


class _DamageNotice:
    """The notice on a damaged database; the snapshot to offer is looked for once, because that reads it whole."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._offer: str | None = None
        self._looked = False

    def current(self) -> Damage | None:
        """Return the notice, or None while all is well."""
        store = self._kernel.store
        if store.folder is None or (store.damage is None and store.set_aside is None and store.loss is None):
            return None
        if not self._looked:
            found = backup.newest_good(store.folder / "snapshots")
            self._offer, self._looked = None if found is None else str(found), True
        message = store.damage or store.loss or "the database was damaged, and this start began with an empty one"
        aside = None if store.set_aside is None else str(store.set_aside)
        return Damage(message=message, set_aside=aside, snapshot=self._offer)


def _memory() -> int:
    psutil: Any = importlib.import_module("psutil")  # 15 ms, and only this needs it
    return int(psutil.Process().memory_info().rss)


def _level() -> LogLevel:
    level = logging.getLogger().getEffectiveLevel()
    if level <= logging.DEBUG:
        return "debug"
    if level <= logging.INFO:
        return "info"
    return "warning" if level <= logging.WARNING else "error"


def _log_follows(kernel: Kernel) -> Any:
    def changed(plugin: str, names: tuple[str, ...]) -> None:
        if plugin == "daemon" and "log_level" in names:
            logging.getLogger().setLevel(kernel.settings.current(DaemonSettings).log_level.upper())

    return changed
