"""The kernel: a registry, a store and a dispatcher that belong together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from coder_local._store.clock import Clock
from coder_local._store.feed import Feed
from coder_local._store.store import Loop, Store
from coder_local.api import Domain

from .clients import Clients
from .dispatch import Dispatcher
from .host import Host
from .plugins import Plugin, Source
from .principal import Gate, OpenGate
from .registry import Registry
from .settings import SettingsManager

_log = logging.getLogger("coder_local.plugins")


class Kernel:
    """Everything behind the doors. `folder` is the data directory; without one all is in memory, for tests."""

    def __init__(self, folder: Path | None = None, *, clock: Clock | None = None, gate: Gate | None = None) -> None:
        self.registry = Registry()
        self.store = Store(folder, self.registry.tables, self.registry, clock)
        self.dispatcher = Dispatcher(self.registry, self.store, gate or OpenGate())
        self.dispatcher.offered = self.offered
        self.clients = Clients()
        self.host: Host | None = None
        self.settings = SettingsManager(self.registry, self.store, folder, os.environ)
        self.registry.settings_of = self.settings.current
        self._hooks: Any = None

    def open(self, granted: Callable[[Kernel], Iterable[Plugin]] = lambda _: ()) -> None:
        """Open the store, load the plugins that it holds a grant for, and bring the tables of all loaded ones up to date.

        A plugin whose migration fails is stopped.
        """
        self.store.open()
        self.settings.load()
        self.load(granted(self))
        self.registry.stop_unmigrated(self.store.migrate(self.registry.migration_sets()))
        self.feed = Feed(self.store.bounds, self.store.events_after)

    def start(self, post: Loop) -> None:
        """Begin to write on the writer's thread; `post` is the event loop's `call_soon_threadsafe`."""
        self.store.start(post, self.feed.publish)

    def load(self, plugins: Iterable[Plugin]) -> None:
        """Import plugins one by one."""
        for plugin in plugins:
            self.registry.add(plugin)

    def take(self, domain: Domain, source: Source = Source.CORE) -> Plugin:
        """Take in a domain that is at hand."""
        plugin = Plugin(domain.name, source, domain.name)
        self.registry.take(plugin, domain)
        return plugin

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        """Return what the plugins answer to a hook, one answer after another."""
        answers: list[Any] = []
        for implementation in getattr(self._manager().hook, hook).get_hookimpls():
            try:
                answers += implementation.function(**arguments)
            except Exception:
                _log.exception("hook %s of plugin %s failed", hook, implementation.plugin_name)
        return answers

    def forget_hooks(self) -> None:
        """Collect the hooks anew at the next call of one: a plugin came or went."""
        self._hooks = None

    def _manager(self) -> Any:
        """Return the plugin manager, made at the first hook: importing pluggy costs 17 ms, and no hook is on a hot path."""
        if self._hooks is None:
            from .hooks import manager  # noqa: PLC0415 - see above

            self._hooks = manager(self.registry.plugins.values())
        return self._hooks
