"""The kernel: a registry, a store and a dispatcher that belong together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from coder_local._store.clock import Clock
from coder_local._store.feed import Feed
from coder_local._store.store import Loop, Store
from coder_local.api import DeclarationError, Domain

from . import hooks
from .clients import Clients
from .dispatch import Dispatcher
from .host import Host
from .listeners import Listeners
from .plugins import FOREIGN, Plugin, Source, Status
from .principal import Gate, OpenGate
from .registry import Registry
from .settings import DaemonSettings, SettingsManager
from .troubles import Troubles

if TYPE_CHECKING:
    from .contents import Contents
    from .growth import Growth

T = TypeVar("T")

_log = logging.getLogger("coder_local.plugins")
START_DEADLINE = 30.0
"""Seconds that a plugin's start may take."""
STOP_DEADLINE = 10.0
"""Seconds that a plugin's stop may take."""
UNWIND_DEADLINE = 3.0
"""Seconds that a start which was cancelled has to come to its end before the plugin's stop begins."""


class Kernel:
    """Everything behind the doors. `folder` is the data directory; without one all is in memory, for tests."""

    def __init__(self, folder: Path | None = None, *, clock: Clock | None = None, gate: Gate | None = None) -> None:
        self.registry = Registry()
        self.store = Store(folder, self.registry.tables, self.registry, clock)
        self.dispatcher = Dispatcher(self.registry, self.store, gate or OpenGate())
        self.registry.load = self._load
        self.registry.offered = self.offered
        self.registry.folder_of = self.store.folders.of
        self.clients = Clients()
        self.host: Host | None = None
        self.settings = SettingsManager(self.registry, self.store, folder, os.environ)
        self.registry.settings_of = self.settings.current
        self.troubles = Troubles(
            lambda: list(self.registry.plugins.values()), lambda: self.settings.current(DaemonSettings)
        )
        self.dispatcher.troubled = self.troubles.fault
        self.listeners = Listeners(self.store, self.troubles.fault)
        self.listeners.context = self.dispatcher.listening
        self.contents: Contents | None = None
        """The hashes of files of plugins of others that were listed; there once some were."""
        self.growth: Growth | None = None
        """Whether the process grows, and who worked meanwhile; there while somebody looks."""
        self.safe = False
        """Whether this start leaves the plugins of others out."""
        self.changing = asyncio.Lock()
        """Held while a plugin comes, goes, or has its content exchanged."""
        self.post: Loop = _at_once
        """The loop's `call_soon_threadsafe`, once it runs."""
        self.working: Callable[[Plugin, str], None] = lambda _plugin, _what: None
        """Told before a third party's code is imported or started, and with nothing when that was done."""
        self.decided: Callable[[str], None] = lambda _name: None
        """Told when the person enabled or disabled a plugin: what was held against it is void."""
        self._begun: list[Plugin] = []
        self._starting: dict[Plugin, asyncio.Task[None]] = {}
        self._hooks: Any = None

    def open(self, granted: Callable[[Kernel], Iterable[Plugin]] = lambda _: ()) -> None:
        """Open the store, load the plugins that it holds a grant for, and bring all loaded ones' tables up to date.

        A plugin whose migration fails is stopped. Raises `NewerData` or `MigrationError` for the core's own tables.
        """
        self.load(self.open_store(lambda kernel: list(granted(kernel))))
        self.registry.stop_unmigrated(self.store.migrate(self.registry.migration_sets()))

    def open_store(self, read: Callable[[Kernel], T]) -> T:
        """Open the store and return what `read` reads there: all that a start needs before a plugin is loaded.

        The file may have to be exchanged for another when it cannot be read. Raises as `open` does.
        """
        self.store.open()
        return self._opened(read)

    def open_soon(self, read: Callable[[Kernel], T]) -> T | None:
        """Open the store as `open_store` does, but for a migration of the core's own tables: None if one is due.

        It is `store.migrate_core` then, once the writer's thread runs, and `read` after it.
        """
        self.store.open(later=True)
        if not self.store.core_waits:
            return self._opened(read)
        self.feed = self.dispatcher.feed = Feed(self.store.bounds, self.store.events_after)
        return None

    def _opened(self, read: Callable[[Kernel], T]) -> T:
        try:
            found = self.read(read)
        except Exception as error:
            if not self.store.recover(error):
                raise
            found = self.read(read)
        self.feed = self.dispatcher.feed = Feed(self.store.bounds, self.store.events_after)
        return found

    def read(self, read: Callable[[Kernel], T]) -> T:
        """Load the settings that are stored, and return what `read` reads; when the core's tables are up to date."""
        self.settings.load()
        return read(self)

    def start(self, post: Loop, soon: Loop | None = None) -> None:
        """Begin to write on the writer's thread; `post` is the loop's `call_soon_threadsafe`, `soon` `call_soon`."""
        self.feed.soon, self.post = soon, post
        self.store.start(post, self.feed.publish, soon)

    def load(self, plugins: Iterable[Plugin]) -> None:
        """Import plugins one by one."""
        for plugin in plugins:
            self.registry.add(plugin)

    def _load(self, plugin: Plugin, *, anew: bool = False) -> Domain | None:
        """Import a plugin where it is to run: that of others in a process of its own, if its manifest says so."""
        if plugin.source not in FOREIGN or self.store.folder is None:
            return plugin.load(anew=anew)
        from . import isolated  # noqa: PLC0415 - only for a plugin of others

        return isolated.load(self, plugin, anew=anew)

    def take(self, domain: Domain, source: Source = Source.CORE) -> Plugin:
        """Take in a domain that is at hand."""
        plugin = Plugin(domain.name, source, domain.name)
        self.registry.take(plugin, domain)
        return plugin

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        """Return what the plugins answer to a hook, joined in the order in which they were loaded.

        Raises `DeclarationError` for a hook that there is not. A plugin that fails is left out, and named in the log.
        """
        if hook not in hooks.SPECIFICATIONS:
            raise DeclarationError(f"there is no hook {hook!r}; there are {', '.join(sorted(hooks.SPECIFICATIONS))}")
        return [answer for _, answer in self.answers(hook, **arguments)]

    def answers(self, hook: str, /, **arguments: Any) -> list[tuple[str, Any]]:
        """Return what the plugins answer to a hook that there is, each with the plugin's name."""
        found: list[tuple[str, Any]] = []
        for implementation in getattr(self._manager().hook, hook).get_hookimpls():
            function, plugin = implementation.function, implementation.plugin_name
            known = hooks.arguments_of(function)  # a plugin may take fewer than the hook has
            given = {name: value for name, value in arguments.items() if name in known}
            try:
                found += [(plugin, answer) for answer in function(**given)]
            except Exception as error:  # noqa: BLE001 - a plugin's fault, which is in the log
                _log.exception("hook %s of plugin %s failed", hook, plugin)
                self.troubles.fault(f"{plugin}.{hook}", error)
        return found

    async def begin(self, plugin: Plugin) -> None:
        """Run what a loaded plugin declared with `on_start`, then let its listeners listen.

        If its start raises or takes too long, this plugin is stopped. One that began is left alone: the person may
        have disabled it and enabled it again before its turn came at the start of the daemon.
        """
        if not plugin.loaded or plugin.domain is None or plugin in self._begun:
            return
        self._begun.append(plugin)
        to_start = plugin.domain.started or plugin.domain.listeners
        if to_start and not await self._start_apart(plugin, plugin.domain):
            return
        if plugin.loaded:
            self.listeners.start(plugin, self.feed)
        else:
            self._begun.remove(plugin)

    async def begin_again(self, plugin: Plugin) -> None:
        """Run the start of a plugin again whose process was started again: what it had begun there is gone."""
        there = plugin.loaded and plugin in self._begun and plugin not in self._starting
        if there and plugin.domain is not None and plugin.domain.started and not self.dispatcher.closing:
            await self._start_apart(plugin, plugin.domain)

    async def _start_apart(self, plugin: Plugin, domain: Domain) -> bool:
        """Run a plugin's start as a task of its own, which `end` can cancel and wait for; false if that was done."""
        task = self._starting[plugin] = asyncio.get_running_loop().create_task(self._start(plugin, domain))
        plugin.start_since = time.monotonic()
        self.working(plugin, "starting")
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            raise
        if self._starting.get(plugin) is not task:
            return False
        del self._starting[plugin]
        plugin.start_since = None
        self.working(plugin, "")
        if not task.cancelled():  # as a plugin may do to itself
            task.result()
        return True

    async def _start(self, plugin: Plugin, domain: Domain) -> None:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(START_DEADLINE):
                await self.listeners.enrol(plugin)  # first: what its start says is heard already
                for function in domain.started:
                    await function(self.dispatcher.context(plugin.name, domain.name))
        except TimeoutError:
            self.registry.stop(
                plugin, Status.STOPPED_BY_START_ERROR, f"its start took longer than {START_DEADLINE:g} s"
            )
        except Exception as error:  # noqa: BLE001 - a plugin's fault stops that plugin alone
            _log.exception("plugin %s could not start", plugin.name, extra={"plugin": plugin.name})
            self.registry.stop(plugin, Status.STOPPED_BY_START_ERROR, f"{type(error).__name__}: {error}")
        plugin.start_ms = (time.perf_counter() - begun) * 1000
        self.forget_hooks()

    async def end(self, plugin: Plugin) -> list[Exception]:
        """Run what a plugin that began declared with `on_stop`, and return what failed of it, which is in the log.

        A start that has not come to its end is cancelled, and waited for: a plugin never stops while it still starts.
        """
        self.listeners.stop(plugin)
        if plugin not in self._begun:
            return []
        self._begun.remove(plugin)
        await self._end_start(plugin)
        faults: list[Exception] = []
        if not plugin.loaded or plugin.domain is None:
            return faults
        for function in plugin.domain.stopped:
            try:
                async with asyncio.timeout(STOP_DEADLINE):
                    await function(self.dispatcher.context(plugin.name, plugin.domain.name))
            except Exception as error:  # noqa: BLE001 - a plugin's fault, which keeps nothing else from stopping
                _log.exception("plugin %s could not stop", plugin.name, extra={"plugin": plugin.name})
                faults.append(error)
        return faults

    async def _end_start(self, plugin: Plugin) -> None:
        task = self._starting.pop(plugin, None)
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,), timeout=UNWIND_DEADLINE)
        plugin.start_since = None
        if not task.done():
            _log.error("the start of plugin %s does not end; it is stopped meanwhile", plugin.name)

    async def end_all(self) -> list[Exception]:
        """End all plugins that began, side by side."""
        self.listeners.save()
        found = await asyncio.gather(*(self.end(plugin) for plugin in list(self._begun)))
        return [fault for faults in found for fault in faults]

    def end_processes(self) -> None:
        """End the processes of plugins; nothing is under way any more."""
        for plugin in list(self.registry.plugins.values()):
            if plugin.process is not None:
                plugin.process.stop()

    def forget_hooks(self) -> None:
        """Collect the hooks anew at the next call of one: a plugin came or went."""
        self._hooks = None

    def _manager(self) -> Any:
        """Return the plugin manager, made at the first hook: importing pluggy costs 17 ms, and no hook is hot."""
        found = self._hooks  # a query asks on another thread, and `forget_hooks` may come in between
        if found is None:
            found = self._hooks = hooks.manager(self.registry.plugins.values())
        return found


def _at_once(function: Callable[..., Any], *arguments: Any) -> None:
    function(*arguments)
