"""Which plugins the person enabled: third-party ones for one exact content, bundled ones unless disabled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import FOREIGN, Plugin, Source, Status, content_hash, in_folder, installed
from coder_local._store.caller import Caller
from coder_local._store.scope import ReadScope, WriteScope
from coder_local.api import DeclarationError

FOLDER = "plugins"
"""Folder of the data directory that a plugin can be put into without being installed."""
CHANGED = "its content changed since it was enabled; look at what changed, then enable it again with plugins.enable"
NOT_ENABLED = "it is not enabled; look at what it does, then enable it with plugins.enable"
SAFE = "the daemon runs in safe mode, without plugins of others; stop it, then start it without --safe"
DISABLED = "it was disabled; plugins.enable brings it back"


class Grant(NamedTuple):
    """What the person decided on one plugin."""

    name: str
    source: str
    location: str
    content_hash: str
    enabled: bool
    quarantined: str = ""
    """Why it was set aside; empty while it may run."""


def granted_plugins(kernel: Kernel) -> list[Plugin]:
    """Return the third-party plugins that may be loaded. Give it to `Kernel.open`, when bundled ones are loaded.

    The others that were once enabled are listed with the reason why they are not loaded.
    """
    grants = read_grants(kernel)
    stop_disabled(kernel, grants)
    found: list[Plugin] = []
    for plugin, grant in foreign(kernel, grants):
        if may_load(plugin, grant):
            found.append(plugin)
        else:
            kernel.registry.plugins[plugin.name] = plugin
    return found


def stop_disabled(kernel: Kernel, grants: Iterable[Grant]) -> None:
    """Stop the bundled plugins that the person disabled: they must have been loaded."""
    names = {grant.name for grant in grants if grant.source == Source.BUNDLED and not grant.enabled}
    for plugin in list(kernel.registry.plugins.values()):
        if plugin.source is Source.BUNDLED and plugin.name in names:
            kernel.registry.stop(plugin, Status.DISABLED, DISABLED)


def foreign(kernel: Kernel, grants: Iterable[Grant]) -> list[tuple[Plugin, Grant]]:
    """Return the third-party plugins that there is a decision on, but for those whose name is taken."""
    found = [grant for grant in grants if grant.source in FOREIGN and grant.name not in kernel.registry.plugins]
    return [(Plugin(grant.name, Source(grant.source), grant.location), grant) for grant in found]


def may_load(plugin: Plugin, grant: Grant) -> bool:
    """Tell whether a third party's plugin is enabled with its present content; if not, it is stopped with the reason.

    Reads all its files, which takes as long as the disk takes.
    """
    if not grant.enabled:
        plugin.stop(Status.DISABLED, DISABLED)
        return False
    if grant.quarantined:
        plugin.content = grant.content_hash
        plugin.stop(Status.QUARANTINED, grant.quarantined)
        return False
    try:
        plugin.content = content_hash(plugin)
    except (OSError, DeclarationError) as error:
        plugin.stop(Status.NEEDS_ENABLING, f"its files cannot be read: {error}")
        return False
    if plugin.content != grant.content_hash:
        plugin.stop(Status.NEEDS_ENABLING, CHANGED)
        return False
    return True


def read_grants(kernel: Kernel) -> list[Grant]:
    """Return all decisions, the oldest first: of two plugins that claim one name the first enabled one keeps it."""

    def work(scope: ReadScope) -> list[Grant]:
        sql = "SELECT name, source, location, content_hash, enabled, quarantined FROM plugin_grant ORDER BY at, name"
        return [Grant(*row)._replace(enabled=bool(row[4])) for row in scope.rows(sql)]

    return kernel.store.read(work, Caller("daemon"))


def keep_grant(scope: WriteScope, plugin: Plugin, content: str, *, enabled: bool) -> None:
    """Write the person's decision on a plugin."""
    scope.connection.execute(
        "INSERT OR REPLACE INTO plugin_grant (name, source, location, content_hash, enabled, at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (plugin.name, str(plugin.source), plugin.location, content, int(enabled), scope.ms),
    )


def keep_quarantine(scope: WriteScope, name: str, reason: str) -> None:
    """Write that a third party's plugin was set aside, and why."""
    scope.connection.execute("UPDATE plugin_grant SET quarantined = ? WHERE name = ?", (reason, name))


def not_loaded(kernel: Kernel) -> Iterator[Plugin]:
    """Yield the plugins of the plugin folder and of other distributions that are not known yet, without importing."""
    known = set(kernel.registry.plugins)
    folder = kernel.store.folder
    for plugin in (*(in_folder(folder / FOLDER) if folder is not None else ()), *installed()):
        if plugin.name in known:
            if not _same(kernel.registry.plugins.get(plugin.name), plugin):
                plugin.stop(Status.STOPPED_BY_DECLARATION, f"there is already a plugin called {plugin.name}")
                yield plugin
            continue
        known.add(plugin.name)
        plugin.stop(Status.NEEDS_ENABLING, NOT_ENABLED)
        yield plugin


def _same(one: Plugin | None, other: Plugin) -> bool:
    return one is not None and (one.source, one.location) == (other.source, other.location)
