"""Load plugins while the daemon answers already: imports on threads, the registry on the loop, tables on the writer.

With all domains imported before the socket opens, each would delay the first answer (25 ms for a large one). Meanwhile
the dispatcher holds the calls that come.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Status

from . import boot
from .care import PluginCare
from .core import EARLY, read_grants
from .core.grants import SAFE, Grant, foreign, may_load, stop_disabled
from .core.taking import imported, quarantine
from .core.work import alone, apart


async def load(kernel: Kernel, grants: Sequence[Grant], care: PluginCare | None = None) -> None:
    """Load the bundled plugins, then those that the person enabled, and bring their tables up to date.

    All are listed before the first is imported, so that whoever asks meanwhile sees which ones wait, and for which.
    `care` knows which plugins of others the last starts ended at.
    """
    bundled = [plugin for plugin in plugins.bundled() if kernel.registry.enter(plugin)]
    decided = foreign(kernel, grants)
    for plugin in (*bundled, *(plugin for plugin, _ in decided)):
        kernel.registry.plugins[plugin.name] = plugin
        plugin.status = Status.LOADING
    for plugin in bundled:
        await _add(kernel, plugin)
    stop_disabled(kernel, grants)
    for plugin in await _tried(kernel, care, await _allowed(kernel, decided)):
        await _add(kernel, plugin)
    sets = kernel.registry.migration_sets()
    boot.mark("migrate")
    failed = await alone(kernel, "plugins.migrate", lambda: kernel.store.migrate(sets))
    kernel.registry.stop_unmigrated(failed)
    kernel.forget_hooks()
    boot.mark("loaded")


async def migrate_core(kernel: Kernel) -> list[Grant]:
    """Bring the core's own tables up to date on the writer's thread, and return the grants, which could not be read.

    Raises `MigrationError`, or `Locked` if it was stopped.
    """
    await alone(kernel, "store.migrate", kernel.store.migrate_core)
    kernel.dispatcher.let(*EARLY)
    return kernel.read(read_grants)


async def _allowed(kernel: Kernel, decided: Sequence[tuple[Plugin, Grant]]) -> list[Plugin]:
    """Return the plugins whose content is the one that was enabled; all their files are read, on a thread."""
    if not decided:
        return []
    if kernel.safe:
        for plugin, grant in decided:
            if grant.enabled and not grant.quarantined:
                plugin.stop(Status.LEFT_OUT, SAFE)
            else:
                may_load(plugin, grant)  # says why it is not loaded in any mode
        return []
    return await apart(lambda: [plugin for plugin, grant in decided if may_load(plugin, grant)])


async def _tried(kernel: Kernel, care: PluginCare | None, allowed: list[Plugin]) -> list[Plugin]:
    """Return the plugins that may be loaded in this start; one that ended too many of them is set aside for good."""
    starts = None if care is None else care.watch_start(allowed)
    if starts is None:
        return allowed
    out = starts.begin(allowed)
    for plugin in allowed:
        if plugin.name in starts.guilty:
            await quarantine(kernel, plugin, out[plugin.name])
            starts.acquit(plugin.name)
        elif plugin.name in out:
            status = Status.QUARANTINED if plugin.name in starts.held else Status.LEFT_OUT
            plugin.stop(status, out[plugin.name])
    return [plugin for plugin in allowed if plugin.name not in out]


async def _add(kernel: Kernel, plugin: Plugin) -> None:
    boot.mark("import", plugin=plugin.name)
    plugin.import_since = time.monotonic()
    domain = await imported(kernel, plugin, lambda: kernel.registry.load(plugin))
    plugin.import_since = None
    if domain is not None:
        kernel.registry.take(plugin, domain)
