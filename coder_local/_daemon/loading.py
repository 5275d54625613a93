"""Load plugins while the daemon answers already: imports on threads, the registry on the loop, tables on the writer.

With all domains imported before the socket opens, each would delay the first answer (25 ms for a large one). Meanwhile
the dispatcher holds the calls that come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Status

from .core import EARLY, read_grants
from .core.grants import Grant, foreign, may_load, stop_disabled
from .core.work import alone, apart

IMPORT_DEADLINE = 30.0
"""Seconds that the import of a plugin may take; then it is stopped, and the next one has its turn."""


async def load(kernel: Kernel, grants: Sequence[Grant]) -> None:
    """Load the bundled plugins, then those that the person enabled, and bring their tables up to date.

    All are listed before the first is imported, so that whoever asks meanwhile sees which ones wait, and for which.
    """
    bundled = [plugin for plugin in plugins.bundled() if kernel.registry.enter(plugin)]
    decided = foreign(kernel, grants)
    for plugin in (*bundled, *(plugin for plugin, _ in decided)):
        kernel.registry.plugins[plugin.name] = plugin
        plugin.status = Status.LOADING
    for plugin in bundled:
        await _add(kernel, plugin)
    stop_disabled(kernel, grants)
    for plugin in await _allowed(decided):
        await _add(kernel, plugin)
    sets = kernel.registry.migration_sets()
    failed = await alone(kernel, "plugins.migrate", lambda: kernel.store.migrate(sets))
    kernel.registry.stop_unmigrated(failed)
    kernel.forget_hooks()


async def migrate_core(kernel: Kernel) -> list[Grant]:
    """Bring the core's own tables up to date on the writer's thread, and return the grants, which could not be read.

    Raises `MigrationError`, or `Locked` if it was stopped.
    """
    await alone(kernel, "store.migrate", kernel.store.migrate_core)
    kernel.dispatcher.let(*EARLY)
    return kernel.read(read_grants)


async def _allowed(decided: Sequence[tuple[Plugin, Grant]]) -> list[Plugin]:
    """Return the plugins whose content is the one that was enabled; all their files are read, on a thread."""
    if not decided:
        return []
    return await apart(lambda: [plugin for plugin, grant in decided if may_load(plugin, grant)])


async def _add(kernel: Kernel, plugin: Plugin) -> None:
    plugin.import_since = time.monotonic()
    try:
        async with asyncio.timeout(IMPORT_DEADLINE):
            domain = await apart(plugin.load)
    except TimeoutError:
        plugin.stop(Status.STOPPED_BY_IMPORT_ERROR, f"its import took longer than {IMPORT_DEADLINE:g} s")
        return  # its thread is left behind: nothing can stop an import
    finally:
        plugin.import_since = None
    if domain is not None:
        kernel.registry.take(plugin, domain)
