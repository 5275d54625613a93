"""The running daemon: what starts in which order, what it watches, how it stops.

Order at start: lock, database, socket, ready line; then, on threads, a migration of the core's tables if one is due,
the plugins, and the heavy imports of HTTP. Calls that come before wait for that, but for those that need none. The port
of HTTP is bound before the ready line, so that whoever reads it may connect at once and waits in the backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coder_ipc import process, runtime
from coder_local import __version__
from coder_local._admission import Admission
from coder_local._registry.kernel import Kernel
from coder_local._registry.settings import DaemonSettings
from coder_local._store.keeping import Keep
from coder_local._store.migrations import MigrationError
from coder_local._store.tables import Table
from coder_local._transports.jsonrpc.server import SocketServer
from coder_local._transports.jsonrpc.session import PROTOCOL
from coder_local.api import Error

from . import again, boot, log, runtimefile, watch
from .care import PluginCare
from .core import EARLY, UNREADY, core_domains, read_grants
from .core.grants import Grant
from .loading import load, migrate_core
from .main import EXIT_BROKEN, EXIT_OK, ServeOptions, say
from .migrating import Reporter, failed

_log = logging.getLogger("coder_local.daemon")
DRAIN = 10.0
"""Seconds that running work has to end or park when the daemon stops."""
_ANSWERING = 2.0
"""Seconds that clients have at least, also after `DRAIN`, to take the answers that were given."""
_DAILY_FIRST = 60.0
_DAILY_EVERY = 3600.0
"""Seconds between two looks at whether a daily snapshot is due."""
_FIRST_ANSWER = 0.03
"""Seconds from the ready line in which nothing but plugins is imported, and no house kept: somebody asks already."""
_HTTP_WAITS = 1.0
"""Seconds that HTTP waits for the plugins; its import would take the processor from theirs for 200 ms."""
_TRIM_EVERY = 600.0
_LOOK_EVERY = 1.0


class Daemon:
    """One daemon process; `run` serves until it is told to stop."""

    def __init__(self, options: ServeOptions, answering: Callable[[], None] = lambda: None) -> None:
        self.options = options
        self.again = again.options_of(options)
        """Options of `serve` that start it again as it is."""
        self._answering = answering
        """Called once, with the ready line."""
        self.data_dir: Path = options.data_dir
        self.incarnation = uuid.uuid4().hex
        self.started_at = process.started_at(os.getpid()) or time.time()
        self.socket = options.socket or runtime.socket_path(options.data_dir)
        self.http: str | None = None
        self._server: SocketServer | None = None
        self._state = "starting"
        self._stopping = asyncio.Event()
        self._orphan = False
        self._linger: asyncio.TimerHandle | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._http_server: Any = None
        self._listening: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._code = EXIT_OK

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """`starting`, `migrating` for the part of it in which tables are brought up to date, `ready` or `stopping`."""
        migrating = self._state == "starting" and self.kernel.store.airlock.progress.current is not None
        return "migrating" if migrating else self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    async def run(self) -> int:
        """Serve until stopped, and return the exit code."""
        log.configure(self.options.log_level)
        self._loop = asyncio.get_running_loop()
        self._signals()  # before the database is opened: a start that is interrupted ends as in order as a stop
        kernel = self.kernel = Kernel(self.data_dir)
        self._admission = Admission(kernel)
        kernel.dispatcher.gate = self._admission
        kernel.host = self
        kernel.safe = self.options.safe
        self._care = PluginCare(kernel, self.data_dir)
        for domain in core_domains(kernel):
            kernel.take(domain)
        boot.mark("core")
        grants = kernel.open_soon(read_grants)
        if grants is not None:
            boot.mark("store", set_aside=kernel.store.set_aside is not None)
        self._reporter = Reporter(kernel, self._post)
        kernel.start(self._loop.call_soon_threadsafe, self._loop.call_soon)
        kernel.dispatcher.hold(*(UNREADY if grants is None else EARLY))
        server = self._server = SocketServer(kernel, self.socket, self._admission.authenticate)
        found = await self._listen(server)
        try:
            self._watch()
            say("ready", found, self.state, safe=self.options.safe)
            self._answering()
            boot.mark("ready")
            self._timers["http"] = self._loop.call_later(_HTTP_WAITS, self._begin_http)
            if await self._load(grants):
                self._begin_http()
                self._keep_house()
                await self._stopping.wait()
            await self._stop(server)
        except MigrationError as error:  # of the core's own tables
            kernel.dispatcher.refuse_held(failed(error))
            await self._stop(server)
            raise
        finally:
            runtimefile.remove(self.data_dir, self.incarnation)
            self._heed_no_signals()
        return self._code

    def about(self) -> dict[str, Any]:
        """Return what `initialize` tells of this process."""
        return {
            "incarnation": self.incarnation,
            "pid": os.getpid(),
            "data_dir": str(self.data_dir),
            "http": self.http,
            "state": self.state,
        }

    def stop(self) -> None:
        """Begin to stop; returns at once. Clients of the socket are told, so that they do not take it for a crash."""
        self._go("daemon.stopping", {})

    def hand_over(self, version: str) -> None:
        """Begin to stop because a daemon of that version follows; clients of the socket are told to come back to it."""
        _log.info("going, to be followed by version %s", version)
        self._go("daemon.handing_over", {"version": version})

    def _go(self, farewell: str, more: dict[str, Any]) -> None:
        if self._server is not None and not self._stopping.is_set():  # the first word holds
            self._server.tell(farewell, {"incarnation": self.incarnation, **more})
        self.state = "stopping"
        self._stopping.set()

    async def _listen(self, server: SocketServer) -> runtime.Runtime:
        """Listen, and write down where; what fails then leaves no socket behind at which nobody answers."""
        runtime.make_socket_folder(self.socket)
        await server.start()
        try:
            boot.mark("socket")
            self._listening = self._bind_http()
            return self._announce()
        except BaseException:
            if self._listening is not None:
                self._listening.close()
            await server.stop(0)
            raise

    def _announce(self) -> runtime.Runtime:
        found = runtime.Runtime(
            protocol=PROTOCOL,
            version=__version__,
            incarnation=self.incarnation,
            pid=os.getpid(),
            process_started_at=self.started_at,
            socket=self.socket,
            http=self.http,
            token=self._admission.owner_token,
            data_dir=str(self.data_dir),
        )
        runtimefile.write(self.data_dir, found)
        self._published = runtimefile.Published(self.data_dir, found)
        return found

    async def _load(self, grants: Sequence[Grant] | None) -> bool:
        """Load the plugins and let the calls begin that wait for them; false if the daemon is to stop before that.

        Without `grants` the core's own tables are migrated first. Raises `MigrationError` if they cannot be.
        """
        begun = self._loop.time()
        loading = self._loop.create_task(self._bring_up(grants))
        stopping = self._loop.create_task(self._stopping.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            loading.cancel()
            return False
        loading.result()
        if not self._stopping.is_set():
            self.state = "ready"
        self.kernel.dispatcher.release()
        await asyncio.sleep(begun + _FIRST_ANSWER - self._loop.time())
        return True

    async def _bring_up(self, grants: Sequence[Grant] | None) -> None:
        self._reporter.begin()
        if grants is None:
            grants = await migrate_core(self.kernel)
            boot.mark("store", set_aside=self.kernel.store.set_aside is not None)
        await load(self.kernel, grants, self._care)

    def _keep_house(self) -> None:
        """Do what may come after the first answer: start hooks, housekeeping, the log of what became of each plugin."""
        for plugin in self.kernel.registry.plugins.values():
            if not plugin.loaded:
                _log.warning("plugin %s is %s: %s", plugin.name, plugin.status, plugin.reason)
        if self.kernel.store.loss is not None:
            _log.error("%s", self.kernel.store.loss)
        elif self.kernel.store.set_aside is not None:
            aside = self.kernel.store.set_aside
            _log.error("the database was damaged and set aside in %s; see coder-local salvage", aside)
        self.kernel.dispatcher.sweep()
        self._trim()
        self._timers["daily"] = self._loop.call_later(_DAILY_FIRST, self._daily)
        self._look()
        self._beginning = self._loop.create_task(self._begin_plugins())

    async def _begin_plugins(self) -> None:
        """Run what plugins declared with `on_start`, one after another; a failure stops that plugin alone."""
        for plugin in list(self.kernel.registry.plugins.values()):
            boot.mark("start", plugin=plugin.name)
            await self.kernel.begin(plugin)
        await asyncio.to_thread(boot.ready, self.data_dir)
        await self._care.settle()
        gc.collect()
        gc.freeze()  # what lives as long as the process, the plugins' own work too, need not be looked at again

    def _trim(self) -> None:
        self.kernel.listeners.save()
        self.kernel.store.trim_events()
        self._timers["trim"] = self._loop.call_later(_TRIM_EVERY, self._trim)

    def _daily(self) -> None:
        """See to it that there is a snapshot of yesterday to offer when the database is damaged."""
        self._copying = self._loop.create_task(
            asyncio.to_thread(self._look_after_data, self.kernel.registry.tables.all(), self._keep())
        )
        self._timers["daily"] = self._loop.call_later(_DAILY_EVERY, self._daily)

    def _keep(self) -> Keep:
        settings = self.kernel.settings.current(DaemonSettings)
        return Keep(settings.keep_daily, settings.keep_weekly)

    def _look_after_data(self, tables: Sequence[Table], keep: Keep) -> None:
        store = self.kernel.store
        try:
            store.snapshot_daily(keep)
            store.purge(tables)  # after it: the last snapshot before a record goes for good has it
        except (Error, OSError, sqlite3.Error) as error:
            _log.warning("no daily snapshot was written, or nothing was purged: %s", error)

    def _look(self) -> None:
        """Notice a change of `settings.toml`, and of the file by which the daemon is found."""
        self.kernel.settings.look()
        self._published.look()
        self._timers["look"] = self._loop.call_later(_LOOK_EVERY, self._look)

    async def _stop(self, server: SocketServer) -> None:
        """Take no new work, let what runs end within `DRAIN` seconds, checkpoint, remove the socket."""
        self.state = "stopping"
        watch.Guard("the stop did not come to its end")
        self._reporter.stop()
        boot.mark("stopping")
        self.kernel.dispatcher.closing = True
        self.kernel.dispatcher.release()
        for timer in (*self._timers.values(), *([self._linger] if self._linger else [])):
            timer.cancel()
        if self._beginning is not None:
            self._beginning.cancel()
        self._watchdog.stop()
        self._care.stop()
        end = time.monotonic() + DRAIN
        dispatcher, store = self.kernel.dispatcher, self.kernel.store
        ending = self._loop.create_task(self.kernel.end_all())
        while (not ending.done() or dispatcher.busy or store.reading) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        ending.cancel()  # it logged what failed; what hangs is left behind
        await dispatcher.stop_tasks()
        self.kernel.end_processes()
        store.cancel_reads()
        while store.reading and time.monotonic() < end + _ANSWERING:  # interrupted, they are answered in a moment
            await asyncio.sleep(0.01)
        await server.stop(max(_ANSWERING, end - time.monotonic()))
        await self._stop_http()
        if not await asyncio.to_thread(self.kernel.store.close):
            _log.error("a command did not come to an end; it was not committed")
            self._code = EXIT_BROKEN

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    def _bind_http(self) -> socket.socket | None:
        if self.options.http_port is None:
            return None
        port = self.options.http_port
        try:
            listening = _bind(*([self.options.http_wish] if not port and self.options.http_wish else []), port)
        except OSError as error:
            _log.error("HTTP is off: port %s cannot be bound: %s", port, error)
            return None
        listening.listen(1024)
        listening.setblocking(False)
        self.http = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return listening

    def _begin_http(self) -> None:
        """Serve HTTP from now on, if it is on and not served already."""
        listening, self._listening = self._listening, None
        if listening is not None:
            self._serving = self._loop.create_task(self._serve_http(listening))

    async def _stop_http(self) -> None:
        if self._listening is not None:
            self._listening.close()
        if self._http_server is not None:
            await self._http_server.stop()
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def _serve_http(self, listening: socket.socket) -> None:
        """Import aiohttp on a thread (200 ms), then serve on the socket that is bound already."""
        try:
            self._http_server = await asyncio.to_thread(_import_http, self.kernel, self._admission)
            await self._http_server.start(listening)
            boot.mark("http")
        except Exception:  # noqa: BLE001 - whatever ails HTTP, the socket goes on
            _log.exception("HTTP is off")
            listening.close()

    # -- watching -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        dispatcher, writer = self.kernel.dispatcher, self.kernel.store.writer

        def command() -> tuple[str, float] | None:
            job = writer.current
            return None if job is None else (job.caller.operation, job.started)

        self._watchdog = watch.Watchdog(dispatcher.running, command, self.kernel.troubles)
        self._beat()
        if self.options.parent_pid is not None:
            watch.parent(self.options.parent_pid, self._parent_left)
        if self.options.watch_stdin:
            watch.stdin(self._parent_left)
        self.kernel.clients.changed = self._clients_changed
        self._clients_changed()

    def _parent_left(self) -> None:
        """Hear, on a thread, that whoever started this process is gone."""
        guard = watch.Guard("the parent is gone, and the event loop did not come round")

        def left() -> None:
            guard.came()
            self._parent_gone()

        self._post(left)

    def _post(self, function: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping anyway
            self._loop.call_soon_threadsafe(function)

    def _beat(self) -> None:
        self._watchdog.beat()
        self._beating = self._loop.call_later(watch.LATE / 2, self._beat)

    def _signals(self) -> None:
        if sys.platform == "win32":
            for name in (signal.SIGINT, signal.SIGBREAK):
                signal.signal(name, lambda *_: self._post(self.stop))
            return
        for name in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(name, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a closed terminal is not the end of the daemon

    def _heed_no_signals(self) -> None:
        """Let one more Ctrl-C not spoil the exit code of a stop in order; the loop would take the default back."""
        if sys.platform != "win32":
            for name in (signal.SIGTERM, signal.SIGINT):
                self._loop.remove_signal_handler(name)
                signal.signal(name, signal.SIG_IGN)

    def _parent_gone(self) -> None:
        self._orphan = True
        self._clients_changed()

    def _clients_changed(self) -> None:
        """Stop when the parent is gone and nobody else is attached, or when the time to linger is over."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.kernel.clients.count:
            return
        if self._orphan:
            self.stop()
            return
        linger = self.options.linger
        if linger is None:
            linger = self.kernel.settings.current(DaemonSettings).linger
        if linger is not None:
            self._linger = self._loop.call_later(linger, self._lingered)

    def _lingered(self) -> None:
        """Stop, unless something is at work, which is given its time."""
        if self.kernel.dispatcher.at_work:
            self._linger = self._loop.call_later(_LOOK_EVERY, self._lingered)
        else:
            self.stop()


def _bind(*ports: int) -> socket.socket:
    """Return a socket at the first of the ports on loopback that is free. Raises the `OSError` of the last."""
    for index, port in enumerate(ports, 1):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            listening.close()
            if index == len(ports):
                raise
        else:
            return listening
    raise ValueError("no port was given")


def _import_http(kernel: Kernel, admission: Admission) -> Any:
    from coder_local._transports.http import HttpServer  # noqa: PLC0415 - aiohttp: 200 ms

    return HttpServer(kernel, admission)
