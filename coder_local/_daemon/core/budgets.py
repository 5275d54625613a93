"""What each plugin costs, held against what it may cost, and who is named for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import FOREIGN, Plugin, Source
from coder_local._registry.settings import DaemonSettings
from coder_local.api import Value

if TYPE_CHECKING:
    from coder_local._registry.growth import Growth


class PluginCosts(Value):
    """What a plugin cost since its content was loaded."""

    import_ms: float
    start_ms: float
    faults: int
    """Calls, events and hooks that ended in an exception which nobody expected."""
    blocked: int
    """How often it kept the event loop or the writer from coming round for two seconds or more."""
    blocked_worst_ms: float
    memory_import_kb: int | None
    """By how much the process grew while it was imported, by other threads too; null where nobody looked, as for
    bundled plugins."""
    over: list[str]
    """What of it is over its budget, in words; empty when all is well."""


def costs_of(kernel: Kernel, plugin: Plugin) -> PluginCosts:
    """Return what a plugin cost."""
    costs = plugin.costs
    return PluginCosts(
        import_ms=round(plugin.import_ms, 3),
        start_ms=round(plugin.start_ms, 3),
        faults=costs.faults,
        blocked=costs.blocked,
        blocked_worst_ms=round(costs.blocked_worst_ms, 1),
        memory_import_kb=costs.memory_import_kb,
        over=list(over(kernel, plugin)),
    )


def over(kernel: Kernel, plugin: Plugin) -> Iterator[str]:
    """Yield what of a plugin is over its budget. Import and memory are held against third parties' plugins alone."""
    if plugin.source is Source.CORE:
        return
    limits, costs = kernel.settings.current(DaemonSettings), plugin.costs
    if plugin.source in FOREIGN:
        if plugin.import_ms > limits.import_budget_ms:
            yield f"its import took {plugin.import_ms:.0f} ms, of {limits.import_budget_ms:g} ms that it may take"
        grown = (costs.memory_import_kb or 0) / 1024
        if grown > limits.memory_budget_mb:
            yield f"the process grew by {grown:.0f} MiB while it was imported"
        if growth := suspicion(kernel.growth, plugin, limits.memory_budget_mb):
            yield growth
    if costs.blocked:
        yield f"it kept the daemon waiting {costs.blocked} times, at worst for {costs.blocked_worst_ms / 1000:.1f} s"
    if failed := kernel.troubles.too_often(plugin):
        yield failed


def suspicion(growth: Growth | None, plugin: Plugin, budget_mb: float) -> str:
    """Return how much the process grew while a plugin was called nearly alone; empty below its budget."""
    suspect = None if growth is None else growth.suspect()
    if suspect is None or suspect.plugin != plugin.name or suspect.grown_mb <= budget_mb:
        return ""
    return (
        f"the process grew by {suspect.grown_mb:.0f} MiB in {suspect.minutes} minutes in which {suspect.share:.0%} of"
        " all calls were its own; that is a suspicion, no proof"
    )


def findings(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """Yield what the doctor says of plugins over their budget: a message, and what to do about it."""
    for plugin in list(kernel.registry.plugins.values()):
        hint = f"tell its author, or do without it: coder-local plugins disable {plugin.name}"
        if plugin.source is Source.BUNDLED:
            hint = "it is a part of coder-local and is not set aside; report it with the log"
        for text in over(kernel, plugin) if plugin.loaded else ():
            yield f"{plugin.name}: {text}", hint
