"""Opening a kernel in memory with plugins that are at hand, whichever way they are given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from coder_local._registry import modules
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.principal import MILD
from coder_local._registry.registry import unconfirmed
from coder_local._store import migrations
from coder_local.api import DeclarationError, Domain, Operation, Refused

if TYPE_CHECKING:
    from types import ModuleType

    from coder_local._registry.principal import Principal
    from coder_local._store.clock import Clock
    from coder_local._store.tables import Table

PluginLike = Domain | str | os.PathLike[str]
"""A plugin as tests give it: its domain, or the folder of its package."""


class PersonGate:
    """Lets everything through but what only a person may do."""

    def limit(self, principal: Principal) -> None:
        """Return."""

    def holds(self, principal: Principal) -> bool:  # noqa: ARG002
        """Return True."""
        return True

    def admit(self, principal: Principal, operation: Operation, raw: bytes, confirm: str | None) -> None:  # noqa: ARG002
        """Return if the caller may; raise `Refused` if it is no person where one is asked for, or nobody agreed."""
        confirmed = principal.confirmed
        if confirmed is not None and operation.safety not in MILD and operation.safety not in confirmed:
            raise unconfirmed(operation)
        if operation.person_only and not principal.person:
            raise Refused(
                f"{operation.name} is for a person, not for {principal.actor}", hint="ask the person to do it"
            )

    def may_hear(self, principal: Principal, event_type: str) -> bool:  # noqa: ARG002
        """Return True."""
        return True


def open_kernel(plugins: Iterable[PluginLike], clock: Clock) -> Kernel:
    """Return a kernel in memory with the plugins' tables made. Raises `DeclarationError` if one cannot be loaded."""
    kernel = Kernel(None, clock=clock, gate=PersonGate())
    taken = [_take(kernel, each) for each in plugins]
    kernel.open()
    kernel.store.tell(kernel.feed.publish)
    try:
        for plugin in taken:
            _refuse_stopped(plugin)
            _make_tables(kernel, plugin)
    except BaseException:
        kernel.store.close()
        raise
    return kernel


def package_of(domain: Domain) -> ModuleType | None:
    """Return the package that exports the domain, None for one that was declared in a single file."""
    declared_in = [record.__module__ for record in domain.tables]
    declared_in += [each.function.__module__ for each in domain.operations.values() if each.function is not None]
    for name in declared_in:
        words = name.split(".")
        for length in range(len(words), 0, -1):
            module = sys.modules.get(".".join(words[:length]))
            if module is not None and hasattr(module, "__path__") and getattr(module, "domain", None) is domain:
                return module
    return None


def found(given: PluginLike) -> Plugin:
    """Return the plugin, its domain and its package if it has one. Raises `DeclarationError` if it cannot be loaded."""
    if not isinstance(given, Domain):
        return load_folder(Path(given))
    plugin = Plugin(given.name, Source.BUNDLED, given.name)
    plugin.domain, plugin.module = given, package_of(given)
    return plugin


def load_folder(folder: Path) -> Plugin:
    """Import the plugin of a folder as the daemon would, or take it over if it is imported already.

    Raises `DeclarationError` with the reason if it cannot be.
    """
    init = folder.resolve() / "__init__.py"
    if not init.is_file():
        raise DeclarationError(f"{folder} is no plugin: it has no __init__.py")
    name = folder.resolve().name
    plugin = Plugin(name, Source.FOLDER, str(folder.resolve()))
    for module in sys.modules.copy().values():
        if getattr(module, "__file__", None) == str(init) and isinstance(getattr(module, "domain", None), Domain):
            plugin.module, plugin.domain = module, module.domain
            return plugin
    modules.take(f"coder_local_plugin_{name}")  # what another folder of that name left would be taken for this one's
    if plugin.load() is None:
        raise DeclarationError(f"{name} cannot be loaded: {plugin.reason}")
    return plugin


def _take(kernel: Kernel, given: PluginLike) -> Plugin:
    plugin = found(given)
    assert plugin.domain is not None, "it was found by it"  # noqa: S101 - for the type checker
    if plugin.name in kernel.registry.plugins:
        raise DeclarationError(f"two plugins are called {plugin.name}")
    kernel.registry.take(plugin, plugin.domain)
    return plugin


def _refuse_stopped(plugin: Plugin) -> None:
    if not plugin.loaded:
        raise DeclarationError(f"{plugin.name} is {plugin.status}: {plugin.reason}")


def _make_tables(kernel: Kernel, plugin: Plugin) -> None:
    """Make the tables of a domain without a package; hold those of a package to its migrations."""
    connection = kernel.store.writer.connection
    tables = tables_of(kernel, plugin)
    if plugin.module is None:
        for table in tables:
            for statement in table.ddl():
                connection.execute(statement)
    elif faults := migrations.verify(connection, tables):
        raise DeclarationError(f"the migrations of {plugin.name} do not make its records: " + "; ".join(faults))


def tables_of(kernel: Kernel, plugin: Plugin) -> list[Table]:
    """Return the tables of a plugin that is loaded."""
    assert plugin.domain is not None, "it is loaded"  # noqa: S101 - for the type checker
    return [kernel.registry.tables.of(record) for record in plugin.domain.tables]
