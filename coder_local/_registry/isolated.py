"""Loading a third party's plugin where its manifest wants it: in the daemon, or in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from coder_local._isolation import manifest
from coder_local._isolation.declarations import Rebuilt, rebuild
from coder_local._isolation.manifest import Isolation, Manifest
from coder_local._isolation.steps import Replay
from coder_local._isolation.wire import Message
from coder_local._store import audit
from coder_local._store.caller import Caller
from coder_local._store.connection import open_reader
from coder_local.api import DeclarationError, Domain, Locked

from . import memory, modules
from .plugins import Plugin, Source, Status, content_hash, package_folder
from .process import HELLO_DEADLINE, Process
from .remote import RemotePlugin

if TYPE_CHECKING:
    from .kernel import Kernel

_log = logging.getLogger("coder_local.plugins")
_LOOK_EVERY = 0.25
"""Seconds between two looks at how much memory a plugin's process has."""


def load(kernel: Kernel, plugin: Plugin, *, anew: bool = False) -> Domain | None:
    """Import a plugin where its manifest wants it, and return its domain; None, with status and reason set, if not.

    Blocks until it is imported; never called on the loop's thread for a plugin of others.
    """
    try:
        folder = package_folder(plugin)
        if folder is None:
            return plugin.load(anew=anew)
        plugin.manifest = manifest.read(folder)
    except DeclarationError as error:
        plugin.stop(Status.STOPPED_BY_DECLARATION, str(error))
        return None
    if plugin.manifest.isolation is Isolation.IN_PROCESS:
        return plugin.load(anew=anew)
    return Apart(kernel, plugin, plugin.manifest, folder).load()


class Apart:
    """One content of a plugin in its process."""

    def __init__(self, kernel: Kernel, plugin: Plugin, allowed: Manifest, folder: Path) -> None:
        self._kernel = kernel
        self._plugin = plugin
        self._folder = folder
        self._allowed = allowed
        self._there = threading.Event()
        self._told: Message | None = None
        self._failed = ""
        self._broken = True
        self._looking: asyncio.Task[None] | None = None
        self._start: asyncio.Task[None] | None = None
        """Held, as the one before: the loop itself keeps no task alive."""
        self.remote = RemotePlugin(plugin.name, allowed, kernel.registry)
        self.remote.refused = self._refused
        self.process = self.remote.process = Process(plugin.name, self, kernel.post)

    def load(self) -> Domain | None:
        """Start the process and wait for what it declares."""
        plugin = self._plugin
        plugin.process, plugin.place = self, self._folder
        self.process.start()
        end = time.monotonic() + HELLO_DEADLINE + 5
        while not self._there.wait(_LOOK_EVERY) and time.monotonic() < end:
            self._keep_to_budget()
        try:
            if self._told is None:
                raise DeclarationError(self._failed or f"its import took longer than {HELLO_DEADLINE:g} s")
            rebuilt = rebuild(self._told, f"coder_local_apart_{plugin.name}", self.remote)
        except DeclarationError as error:
            self._broken = self._broken and self._told is None
            plugin.stop(Status.STOPPED_BY_IMPORT_ERROR if self._broken else Status.STOPPED_BY_DECLARATION, str(error))
            return None
        self._use(rebuilt)
        plugin.domain = rebuilt.domain
        return rebuilt.domain

    def _use(self, rebuilt: Rebuilt) -> None:
        self.remote.domain = rebuilt.domain.name
        self.remote.settings = rebuilt.domain.settings_type
        self.remote.replay = Replay(rebuilt, lambda: open_reader(self._kernel.store.path), self.remote.may_ask)

    def resume(self) -> None:
        """Have the process run again, after `stop`."""
        self.process.start()

    def stop(self) -> None:
        """End the process; what is under way there is answered."""
        self.process.stop()
        self._kernel.post(self.remote.dropped, "it was stopped")
        self._kernel.post(self._stop_looking)

    # -- told by the process ------------------------------------------------------------------------------------------

    def first(self) -> Message:
        """Return what the process is told: which plugin it is, and what it may do."""
        plugin, store = self._plugin, self._kernel.store
        try:
            same = content_hash(plugin) == plugin.content
            if plugin.source is Source.FOLDER:
                modules.remove_bytecode(self._folder)
        except (OSError, DeclarationError) as error:
            raise Locked(f"its files cannot be read: {error}") from error
        if not same:
            raise Locked("its files are not those that were enabled; enable it again")
        return {
            "location": plugin.location, "root": plugin.root, "folder": str(self._folder),
            "in_folder": plugin.source is Source.FOLDER, "manifest": msgspec.json.encode(self._allowed),
            "database": str(store.path), "data_dir": str(store.folder),
        }  # fmt: skip

    def hello(self, message: Message) -> None:
        """Take what it declares; a process that was started again must declare the same."""
        told = message["told"]
        again = self._told is not None
        if not again:
            self._told = told
            self._plugin.import_ms = float(message["import_ms"])
            self._there.set()
        elif told != self._told:
            self.process.kill("it declares something else than when it was enabled")
            return
        self.remote.ready.set()
        self._stop_looking()
        self._looking = asyncio.get_running_loop().create_task(self._look())
        if again:
            self._start = asyncio.get_running_loop().create_task(self._kernel.begin_again(self._plugin))

    def take(self, message: Message) -> None:
        """Take any other message."""
        if message.get("t") == "failed":
            self._failed, self._broken = str(message["message"]), not message["declaration"]
            if self._broken:
                _log.error("plugin %s cannot be imported: %s", self._plugin.name, message["trace"])
        else:
            self.remote.take(message)

    def ended(self, reason: str, again: float | None) -> None:
        """Answer what was under way, and say in the plugin's reason what happened."""
        plugin = self._plugin
        self._stop_looking()
        self.remote.dropped(reason)
        if self._told is None:
            self._failed = self._failed or reason
            self.process.stop()
            self._there.set()
            return
        _log.error("the process of plugin %s ended: %s", plugin.name, reason, extra={"plugin": plugin.name})
        times = f"its process ended {self.process.deaths} times in 10 min, the last time because: {reason}"
        plugin.reason = times
        if again is None:
            self._kernel.troubles.set_aside(plugin, times)

    def _refused(self, permission: str, name: str) -> None:
        """Write a line of audit: the plugin tried what its manifest does not allow."""
        plugin = self._plugin.name
        _log.warning("plugin %s was refused %s: %s", plugin, permission, name, extra={"plugin": plugin})
        entry = audit.Entry(
            f"plugin:{plugin}", None, "default", f"{self.remote.domain}.{permission}", "", "refused", "", "",
            f"not in its manifest: {permission} {name}",
        )  # fmt: skip
        self._kernel.store.submit(
            lambda scope: audit.add(scope, entry), Caller("daemon", operation="audit"), lambda _result, _error: None
        )

    # -- memory -------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """End the process when it has more memory than its budget; look again and again."""
        while self.process.pid is not None and await self._is_in_budget():  # it may have ended since it said hello
            await asyncio.sleep(_LOOK_EVERY)

    async def _is_in_budget(self) -> bool:
        return await asyncio.to_thread(self._keep_to_budget) if self._starts_others else self._keep_to_budget()

    @property
    def _starts_others(self) -> bool:
        """Whether its memory is also that of children: only with such a permission it can have any."""
        return bool(self._allowed.permissions.commands)

    def _keep_to_budget(self) -> bool:
        pid, limit = self.process.pid, self._allowed.budgets.memory_mb
        if pid is None:
            return True
        used = memory.tree(pid) if self._starts_others else memory.resident(pid)
        if used is None or used <= limit << 20 or pid != self.process.pid:  # it ended meanwhile
            return True
        whose = "with what it started it" if self._starts_others else "it"
        self.process.kill(f"{whose} had {used >> 20} MiB in memory, over its budget of {limit} MiB")
        return False

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
