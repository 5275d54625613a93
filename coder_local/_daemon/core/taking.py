"""Taking a plugin in that was imported, and setting one aside that does harm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import FOREIGN, Plugin, Status
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import Domain, Error, Event

from .grants import keep_quarantine
from .work import alone, apart, submit

_log = logging.getLogger("coder_local.plugins")
IMPORT_DEADLINE = 30.0
"""Seconds that the import of a plugin may take; then it is stopped, and whoever waited for it goes on."""
_RUNNING: set[asyncio.Task[Any]] = set()
"""What nobody waits for; the loop itself keeps no task alive."""


_SAID = "plugin_said/"
"""Before a plugin's name in `store_meta`: the status that the last event about it said."""


class PluginChanged(Event):
    """A plugin was enabled, disabled, reloaded or stopped, or has after a start another status than was said.

    The operations that there are may be others now.
    """

    plugin: str
    status: Status


async def imported(kernel: Kernel, plugin: Plugin, load: Callable[[], Domain | None]) -> Domain | None:
    """Have a plugin imported on a thread by `load`; None, with status and reason set, if it cannot be or never ends."""
    kernel.working(plugin, "importing")
    try:
        async with asyncio.timeout(IMPORT_DEADLINE):
            return await apart(load)
    except TimeoutError:
        plugin.stop(Status.STOPPED_BY_IMPORT_ERROR, f"its import took longer than {IMPORT_DEADLINE:g} s")
        return None  # its thread is left behind: nothing can stop an import
    finally:
        kernel.working(plugin, "")


async def bring_up(kernel: Kernel, plugin: Plugin, domain: Domain) -> None:
    """Take a plugin in, bring its tables up to date, and let it begin; if it cannot be, its status says why."""
    kernel.registry.take(plugin, domain)
    if plugin.loaded:
        sets = kernel.registry.migration_sets()
        kernel.registry.stop_unmigrated(await alone(kernel, "plugins.migrate", lambda: kernel.store.migrate(sets)))
        await kernel.begin(plugin)
    kernel.forget_hooks()


def watch_troubles(kernel: Kernel) -> None:
    """Have third parties' plugins set aside that fail again and again."""

    def noticed(plugin: Plugin, reason: str) -> None:
        def begin() -> None:
            asyncio.get_running_loop()  # raises where there is none, before a coroutine is made that nobody runs
            if not kernel.dispatcher.closing:  # what fails because the database is closed is no fault of the plugin
                in_background(_set_aside(kernel, plugin, reason))

        with contextlib.suppress(RuntimeError):  # no loop, or one that is closed
            kernel.post(begin)

    kernel.troubles.set_aside = noticed


def in_background(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run what must come to its end although its caller may leave."""
    task = asyncio.get_running_loop().create_task(work)
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)
    return task


async def _set_aside(kernel: Kernel, plugin: Plugin, reason: str) -> None:
    """Take a plugin's operations away, and keep them away over restarts, until the person enables it again."""
    async with kernel.changing:
        if not plugin.loaded or kernel.registry.plugins.get(plugin.name) is not plugin:
            return  # the person was quicker
        await quarantine(kernel, plugin, reason)


async def quarantine(kernel: Kernel, plugin: Plugin, reason: str) -> None:
    """Stop a plugin, if it runs, and mark it; `kernel.changing` is held. What cannot be written holds until the end."""

    def work(scope: WriteScope) -> None:
        keep_quarantine(scope, plugin.name, reason)
        say(scope, plugin.name, Status.QUARANTINED)

    await kernel.end(plugin)
    kernel.registry.stop(plugin, Status.QUARANTINED, reason)
    kernel.forget_hooks()
    _log.error("plugin %s was set aside: %s", plugin.name, reason, extra={"plugin": plugin.name})
    try:
        await submit(kernel, Caller("daemon", operation="plugins.quarantine"), work)
    except Error as error:
        _log.warning("that %s was set aside could not be written: %s", plugin.name, error)


def say(scope: WriteScope, name: str, status: Status) -> None:
    """Say what became of a plugin, and note that it was said."""
    scope.emit(PluginChanged(plugin=name, status=status))
    sql = "INSERT OR REPLACE INTO store_meta (name, value) VALUES (?, ?)"
    scope.connection.execute(sql, (_SAID + name, str(status)))


async def say_what_became(kernel: Kernel) -> None:
    """Say of each plugin of others that was decided on what it is now, where the last event said something else.

    A start decides before anybody listens; whoever follows the events from his cursor on learns of it by this. Of what
    was never said anything, it is expected that it runs.
    """
    async with kernel.changing:
        now = {each.name: each.status for each in kernel.registry.plugins.values() if each.source in FOREIGN}

        def work(scope: WriteScope) -> None:
            sql = "SELECT substr(name, ?), value FROM store_meta WHERE name GLOB ?"
            said = dict(scope.connection.execute(sql, (len(_SAID) + 1, f"{_SAID}*")))
            for name, status in now.items():
                if said.get(name, Status.LOADED) != status:
                    say(scope, name, status)

        if now:
            try:
                await submit(kernel, Caller("daemon", operation="plugins.start"), work)
            except Error as error:
                _log.warning("what became of the plugins could not be written: %s", error)
