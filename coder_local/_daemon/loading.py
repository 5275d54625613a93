"""Load plugins while the daemon answers already: imports on threads, the registry on the loop, tables on the writer.

With all domains imported before the socket opens, each would delay the first answer (25 ms for a large one). Meanwhile
the dispatcher holds the calls that come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Status

from .core import apply_grants
from .core.grants import Grant
from .core.work import alone, apart

IMPORT_DEADLINE = 30.0
"""Seconds that the import of a plugin may take; then it is stopped, and the next one has its turn."""


async def load(kernel: Kernel, grants: Iterable[Grant]) -> None:
    """Load the bundled plugins, then those that the person enabled, and bring their tables up to date."""
    for plugin in plugins.bundled():
        await _add(kernel, plugin)
    for plugin in apply_grants(kernel, grants):
        await _add(kernel, plugin)
    sets = kernel.registry.migration_sets()
    failed = await alone(kernel, "plugins.migrate", lambda: kernel.store.migrate(sets))
    kernel.registry.stop_unmigrated(failed)
    kernel.forget_hooks()


async def _add(kernel: Kernel, plugin: Plugin) -> None:
    if not kernel.registry.enter(plugin):
        return
    try:
        async with asyncio.timeout(IMPORT_DEADLINE):
            domain = await apart(plugin.load)
    except TimeoutError:
        plugin.stop(Status.STOPPED_BY_IMPORT_ERROR, f"its import took longer than {IMPORT_DEADLINE:g} s")
        return  # its thread is left behind: nothing can stop an import
    if domain is not None:
        kernel.registry.take(plugin, domain)
