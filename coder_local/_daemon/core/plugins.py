"""`plugins.*`: which plugins there are and what became of them; letting one run, and taking it away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from coder_local import __version__
from coder_local._isolation import manifest
from coder_local._isolation.manifest import Isolation, Manifest, Permissions
from coder_local._registry.kernel import Kernel
from coder_local._registry.nearest import did_you_mean
from coder_local._registry.plugins import FOREIGN, Plugin, Source, Status, content_hash, in_folder, package_folder
from coder_local.api import Conflict, Context, DeclarationError, Domain, NotFound, Safety, Snapshot, Value

from .budgets import PluginCosts, costs_of
from .grants import CHANGED, DISABLED, FOLDER, SAFE, keep_grant, not_loaded
from .taking import PluginChanged, bring_up, imported, in_background, say, watch_troubles
from .work import apart, write

PluginName = Annotated[str, Meta(min_length=1, max_length=64)]
ContentHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]

NO_COMMANDS = "its commands in cli are left out: they would run in your terminal, outside of its process"
if TYPE_CHECKING:
    from coder_local._registry.contents import Contents

    from .reloading import Outcome


class PluginInfo(Value):
    """One plugin and what became of it."""

    name: str
    version: str
    source: Source
    location: str
    """Module name, or the folder of a plugin that is not installed."""
    status: Status
    reason: str
    """Why it is not loaded, and what to do; what it does that is not done yet; or which of its operations cannot be
    called, and why. Empty when all is well."""
    domain: str | None
    """First word of its operations; null until it was loaded."""
    operations: int
    """How many of its operations can be called."""
    requires: list[str]
    """Plugins that it cannot do without."""
    import_ms: float
    start_ms: float
    costs: PluginCosts
    content_hash: str | None
    """SHA-256 of its present files, for a third party's: what `plugins.enable` lets run."""
    changed: bool
    """Whether its present files are others than those that run."""
    isolation: Isolation
    """Where its code runs; what is enabled anew runs where the manifest of its present files says."""
    permissions: Permissions | None
    """What it may do beyond its own domain, in a process of its own; null for one that may do all the person may."""
    process: int | None
    """The process that it runs in, of its own; null while there is none."""


class PluginList(Value):
    """All plugins: loaded ones in the order of loading, then those that are not enabled."""

    items: list[PluginInfo]


class Reloaded(Value):
    """What became of a reload."""

    plugin: PluginInfo
    """The plugin as it runs now."""
    reloaded: bool
    """Whether the new content runs; if not, the old one goes on, and `fault` says why."""
    fault: str
    added: list[str]
    """Operations that the new content has and the old one had not."""
    removed: list[str]
    changed: list[str]
    """Operations that are declared otherwise: another input, answer, safety word, deadline or description."""
    left: list[str]
    """What of the old content could not be taken away, in words: extensions in C, threads of its own."""
    took_ms: float
    """Milliseconds from the reading of its files to the first call that the new content could answer."""


def declare(kernel: Kernel) -> Domain:
    """Return the domain."""
    domain = Domain("plugins")
    domain.event("plugins.plugin.changed")(PluginChanged)
    watch_troubles(kernel)

    @domain.query("plugins.list")
    def list_plugins(read: Snapshot) -> PluginList:  # noqa: ARG001
        """List the plugins with version, source, status and reason, also those that were found but not enabled."""
        known = [_moved(kernel, plugin) or plugin for plugin in list(kernel.registry.plugins.values())]
        places = {plugin.location for plugin in known}
        others = (plugin for plugin in not_loaded(kernel) if plugin.location not in places)
        return PluginList(items=[_info(kernel, plugin) for plugin in (*known, *others)])

    @domain.action("plugins.enable", safety=Safety.DESTRUCTIVE, person_only=True, deadline=120)
    async def enable(ctx: Context, *, name: PluginName, content_hash: ContentHash | None = None) -> PluginInfo:
        """Let a plugin's code run, from now on and at every start, for exactly its present content.

        In a process of its own it has the `permissions` that `plugins.list` shows, and no others; in the daemon it may
        do whatever the person may: look at it first. With `content_hash`, as `plugins.list`
        gives it, a content that changed since is refused with `conflict`. If it cannot be loaded, `status` and `reason`
        of the answer say why; one that ran with another content goes on with that. Lifts a quarantine.
        """
        return await asyncio.shield(in_background(_enable(kernel, ctx, name, content_hash)))

    @domain.action("plugins.reload", safety=Safety.DESTRUCTIVE, person_only=True, deadline=120)
    async def reload_plugin(ctx: Context, *, name: PluginName, content_hash: ContentHash | None = None) -> Reloaded:
        """Exchange the content of a plugin that runs for the present one, and enable exactly that, without a restart.

        Calls under way end first, for at most 30 s; those that come meanwhile wait. Listeners go on from their places.
        A content that cannot be loaded leaves the old one running, and `fault` says why. A plugin that does not run is
        enabled. `content_hash` is as in `plugins.enable`.
        """
        return await asyncio.shield(in_background(_reload(kernel, ctx, name, content_hash)))

    @domain.action("plugins.disable", safety=Safety.WRITE, person_only=True)
    async def disable(ctx: Context, *, name: PluginName) -> PluginInfo:
        """Take a plugin's operations away, now and at every start.

        What it keeps stays, and `plugins.enable` brings it back.
        """
        return await asyncio.shield(in_background(_disable(kernel, ctx, name)))

    return domain


async def _enable(kernel: Kernel, ctx: Context, name: str, expected: str | None) -> PluginInfo:
    async with kernel.changing:
        plugin = await apart(lambda: _named(kernel, name))
        kernel.decided(name)
        if plugin.source is Source.BUNDLED:
            await write(kernel, ctx, "plugins.enable", lambda scope: keep_grant(scope, plugin, "", enabled=True))
            if not plugin.loaded:
                await _load(kernel, plugin)
        else:
            plugin = await _enable_foreign(kernel, ctx, plugin, expected)
        await _say(kernel, ctx, plugin)
    return await apart(lambda: _info(kernel, plugin))


async def _enable_foreign(kernel: Kernel, ctx: Context, plugin: Plugin, expected: str | None) -> Plugin:
    present = await _present(plugin, expected)
    if plugin.loaded and plugin.content != present:
        return (await _exchange(kernel, ctx, plugin, present)).plugin
    await _grant(kernel, ctx, plugin, present)
    if plugin.loaded:
        plugin.reason = ""
        return plugin
    fresh = Plugin(plugin.name, plugin.source, plugin.location)
    fresh.content = present
    anew = plugin.module is not None and plugin.content != present
    if anew:
        from .reloading import shares_its_package  # noqa: PLC0415 - no start reloads anything

        if shared := shares_its_package(kernel, plugin):
            plugin.stop(Status.DISABLED, shared)
            return plugin
    await _load(kernel, fresh, anew=anew)
    return fresh


async def _present(plugin: Plugin, expected: str | None) -> str:
    """Return the hash of a third party's files. Raises `Conflict` if they cannot be read, or were not looked at."""
    try:
        present = await apart(lambda: content_hash(plugin))
    except (OSError, DeclarationError) as error:
        raise Conflict(f"{plugin.name} cannot be read: {error}", field="/name") from error
    if expected not in {None, present}:
        raise Conflict(
            f"the content of {plugin.name} is not the one that was looked at",
            field="/content_hash",
            hint="look at it again, then enable the hash that plugins.list gives now",
            data={"content_hash": present},
        )
    return present


async def _grant(kernel: Kernel, ctx: Context, plugin: Plugin, present: str) -> None:
    await write(kernel, ctx, "plugins.enable", lambda scope: keep_grant(scope, plugin, present, enabled=True))


async def _load(kernel: Kernel, plugin: Plugin, *, anew: bool = False) -> None:
    """Import a plugin, take it in, and bring its tables up to date, or mark it with the reason why not."""
    kernel.registry.plugins[plugin.name] = plugin
    if kernel.safe and plugin.source in FOREIGN:
        plugin.stop(Status.LEFT_OUT, SAFE)
        return
    domain = plugin.domain or await imported(kernel, plugin, lambda: kernel.registry.load(plugin, anew=anew))
    if domain is not None:
        await bring_up(kernel, plugin, domain)


async def _reload(kernel: Kernel, ctx: Context, name: str, expected: str | None) -> Reloaded:
    from .reloading import Outcome  # noqa: PLC0415 - no start reloads anything

    async with kernel.changing:
        plugin = await apart(lambda: _named(kernel, name))
        kernel.decided(name)
        if plugin.source is Source.BUNDLED:
            raise Conflict(f"{name} comes with the daemon", field="/name", hint="restart the daemon to load it anew")
        begun = time.monotonic()
        if plugin.loaded:
            outcome = await _exchange(kernel, ctx, plugin, await _present(plugin, expected))
        else:
            fresh = await _enable_foreign(kernel, ctx, plugin, expected)
            added = tuple(sorted(fresh.domain.operations)) if fresh.loaded and fresh.domain else ()
            fault = "" if fresh.loaded else f"{fresh.status}: {fresh.reason}"
            outcome = Outcome(fresh, fault, added=added, took_ms=round((time.monotonic() - begun) * 1000, 1))
        if not outcome.fault or not outcome.plugin.loaded:  # else all is as it was
            await _say(kernel, ctx, outcome.plugin)
        info = await apart(lambda: _info(kernel, outcome.plugin))
    return Reloaded(
        plugin=info,
        reloaded=not outcome.fault,
        fault=outcome.fault,
        added=list(outcome.added),
        removed=list(outcome.removed),
        changed=list(outcome.changed),
        left=list(outcome.left),
        took_ms=outcome.took_ms,
    )


async def _exchange(kernel: Kernel, ctx: Context, plugin: Plugin, present: str) -> Outcome:
    """Exchange the content of a plugin that runs, and enable the new one if it does."""
    from .reloading import reload  # noqa: PLC0415 - no start reloads anything

    outcome = await reload(kernel, plugin, present)
    if not outcome.fault:
        await _grant(kernel, ctx, outcome.plugin, present)
    return outcome


async def _disable(kernel: Kernel, ctx: Context, name: str) -> PluginInfo:
    async with kernel.changing:
        plugin = await apart(lambda: _named(kernel, name))
        await write(
            kernel, ctx, "plugins.disable", lambda scope: keep_grant(scope, plugin, plugin.content, enabled=False)
        )
        kernel.decided(name)
        kernel.registry.plugins[plugin.name] = plugin
        await kernel.end(plugin)
        kernel.registry.stop(plugin, Status.DISABLED, DISABLED)
        kernel.forget_hooks()
        await _say(kernel, ctx, plugin, "plugins.disable")  # last: who hears it asks what there is now
    return await apart(lambda: _info(kernel, plugin))


async def _say(kernel: Kernel, ctx: Context, plugin: Plugin, operation: str = "plugins.enable") -> None:
    status = plugin.status
    await write(kernel, ctx, operation, lambda scope: say(scope, plugin.name, status))


def _named(kernel: Kernel, name: str) -> Plugin:
    """Return a plugin that can be enabled and disabled. Raises `NotFound`, or `Conflict` for a part of the daemon."""
    known = kernel.registry.plugins
    others = [] if name in known else list(not_loaded(kernel))
    plugin = _moved(kernel, known.get(name)) or next((each for each in others if each.name == name), None)
    if plugin is None:
        names = [*known, *(each.name for each in others)]
        hint = did_you_mean(name, names, "see plugins.list")
        raise NotFound(f"there is no plugin {name!r}", field="/name", hint=hint)
    if plugin.source is Source.CORE:
        raise Conflict(f"{name} is a part of the daemon and always there", field="/name")
    return plugin


def _moved(kernel: Kernel, plugin: Plugin | None) -> Plugin | None:
    """Return a plugin, or of one that does not run the one that stands under its name in another folder by now."""
    folder = kernel.store.folder
    if plugin is None or plugin.loaded or plugin.source is not Source.FOLDER or folder is None:
        return plugin
    same = [each for each in in_folder(folder / FOLDER) if each.name == plugin.name]
    if not same or any(each.location == plugin.location for each in same):
        return plugin
    same[0].stop(plugin.status, plugin.reason)
    return same[0]


def _info(kernel: Kernel, plugin: Plugin) -> PluginInfo:
    status, domain = plugin.status, plugin.domain  # the status before the reason, which is set before it
    # Not of bundled ones, which were tested: to read the signatures of all operations takes 100 ms.
    uncallable = {} if plugin.source is Source.BUNDLED else kernel.registry.uncallable(plugin)
    present: str | None = None
    reason = plugin.reason or plugin.at_work
    if plugin.source in FOREIGN:
        try:
            present = _contents(kernel).hash_of(plugin)
        except (OSError, DeclarationError) as error:
            reason = reason or f"its files cannot be read: {error}"
    changed = plugin.loaded and plugin.source in FOREIGN and plugin.content != present
    if changed and present is not None:
        reason = reason or _changed(plugin)
    own = domain.version if domain is not None else ""
    allowed, wrong = _allowed(plugin)
    if allowed.isolation is Isolation.PROCESS and plugin.folder is not None and (plugin.folder / "cli").is_dir():
        wrong = wrong or NO_COMMANDS
    reason = "; ".join(dict.fromkeys(text for text in (reason, wrong, *uncallable.values()) if text))
    return PluginInfo(
        name=plugin.name,
        version=own or ("" if plugin.source in FOREIGN else __version__),
        source=plugin.source,
        location=plugin.location,
        status=status,
        reason=reason,
        domain=None if domain is None else domain.name,
        operations=len(domain.operations) - len(uncallable) if domain is not None and plugin.loaded else 0,
        requires=[] if domain is None else list(domain.requires),
        import_ms=round(plugin.import_ms, 3),
        start_ms=round(plugin.start_ms, 3),
        costs=costs_of(kernel, plugin),
        content_hash=present,
        changed=changed,
        isolation=allowed.isolation,
        permissions=None if allowed.isolation is Isolation.IN_PROCESS else allowed.permissions,
        process=None if plugin.process is None else plugin.process.process.pid,
    )


def _contents(kernel: Kernel) -> Contents:
    from coder_local._registry.contents import Contents  # noqa: PLC0415 - most daemons have no plugins of others

    if kernel.contents is None:
        kernel.contents = Contents()
    return kernel.contents


def _changed(plugin: Plugin) -> str:
    """Return that a plugin's files are others than those that run, and what they would be granted, if it differs."""
    try:
        wanted = _manifest_of(plugin)
    except (OSError, DeclarationError) as error:
        return f"{CHANGED}; {error}"
    if wanted == plugin.manifest:
        return CHANGED
    where = "a process of its own" if wanted.isolation is Isolation.PROCESS else "the daemon, with all that you may do"
    lists = {name: getattr(wanted.permissions, name) for name in Permissions.__struct_fields__}
    may = "".join(f", {name} {' '.join(names)}" for name, names in lists.items() if names)
    return f"{CHANGED}; with its new manifest it would run in {where}{may}"


def _allowed(plugin: Plugin) -> tuple[Manifest, str]:
    """Return what a plugin's manifest says, of one that does not run that of its present files; and what is wrong."""
    if plugin.source not in FOREIGN or plugin.loaded:
        return plugin.manifest, ""
    try:
        return _manifest_of(plugin), ""
    except (OSError, DeclarationError) as error:
        return plugin.manifest, str(error)


def _manifest_of(plugin: Plugin) -> Manifest:
    """Return what the manifest of a third party's present files says. Raises `DeclarationError` and `OSError`."""
    folder = package_folder(plugin)
    return manifest.WITHOUT if folder is None else manifest.read(folder)
