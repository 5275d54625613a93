"""`settings.*`: the settings of all plugins, where each value comes from, and changing them while the daemon runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from coder_local._registry.kernel import Kernel
from coder_local._registry.settings import Place, SettingsManager, variable_of
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import Context, Domain, Event, Refused, Safety, Snapshot, Value

from .work import write

PluginName = Annotated[str, Meta(min_length=1, max_length=64)]
SettingName = Annotated[str, Meta(min_length=1, max_length=100)]

GUARDED = "daemon"
"""The plugin whose settings say who may come in: only the person changes them."""


class PluginSettings(Value):
    """The current settings of one plugin."""

    plugin: str
    values: dict[str, Any]


class SettingsList(Value):
    """The current settings of some plugins."""

    items: list[PluginSettings]


class SettingSource(Value):
    """What one place says of a setting."""

    place: Place
    where: str
    """The variable, the table of the file, or the operation."""
    value: Any
    used: bool
    """Whether this is the value that holds."""
    fault: str | None = None
    """Why the value is not taken, if it is bad."""


class Setting(Value):
    """One setting, and where its value comes from."""

    plugin: str
    name: str
    value: Any
    place: Place
    default: Any
    description: str
    variable: str
    """The environment variable that comes before everything else."""
    sources: list[SettingSource]
    """The strongest first, the default last."""


class SettingChange(Value):
    """A setting as it was changed."""

    setting: Setting
    previous: Any
    """The value before; set it again to take the change back."""


class ValueChanged(Event):
    """Settings of a plugin were changed. Their values are not said: ask `settings.get`."""

    plugin: str
    names: list[str]


def declare(kernel: Kernel) -> Domain:
    """Return the domain, and let changes of the file be announced."""
    domain = Domain("settings")
    domain.event("settings.value.changed")(ValueChanged)
    manager = kernel.settings
    manager.say = _announcer(kernel)

    @domain.query("settings.get", quick=True)
    def get(read: Snapshot, *, plugin: PluginName | None = None) -> SettingsList:  # noqa: ARG001
        """Return the current settings of one plugin, or of all that have some."""
        names = manager.plugins() if plugin is None else [plugin]
        values = [PluginSettings(plugin=name, values=msgspec.to_builtins(manager.of(name))) for name in names]
        return SettingsList(items=values)

    @domain.query("settings.explain")
    def explain(read: Snapshot, *, plugin: PluginName, name: SettingName) -> Setting:  # noqa: ARG001
        """Say where the value of a setting comes from, what other places say of it, and what it means."""
        return _explain(manager, plugin, name)

    @domain.action("settings.set", safety=Safety.WRITE)
    async def set_value(ctx: Context, *, plugin: PluginName, name: SettingName, value: Any) -> SettingChange:
        """Change a setting at once and for good; the answer holds the previous value.

        A value that does not fit is refused and the old one stays. The daemon's own settings are changed by
        the person only.
        """
        return await _change(kernel, ctx, plugin, name, msgspec.to_builtins(manager.check(plugin, name, value)))

    @domain.action("settings.reset", safety=Safety.WRITE)
    async def reset(ctx: Context, *, plugin: PluginName, name: SettingName) -> SettingChange:
        """Take away what was set, so that the file or the default holds again; the answer holds the previous value."""
        manager.found(plugin, name)
        return await _change(kernel, ctx, plugin, name, msgspec.UNSET)

    return domain


async def _change(kernel: Kernel, ctx: Context, plugin: str, name: str, value: Any) -> SettingChange:
    if plugin == GUARDED and ctx.actor != "user":
        raise Refused(
            f"settings of the daemon are changed by the person, and {ctx.actor} calls",
            field="/plugin",
            hint=f"ask the person to run: coder-local settings set --plugin {plugin} --name {name} --value ...",
            data={"rule": "person_only", "actor": ctx.actor},
        )
    manager = kernel.settings
    previous = manager.used(plugin, name).value

    def work(scope: WriteScope) -> None:
        row = (plugin, name)
        scope.connection.execute("DELETE FROM setting WHERE plugin = ? AND name = ?", row)
        if value is not msgspec.UNSET:
            text = msgspec.json.encode(value).decode()
            scope.connection.execute(
                "INSERT INTO setting (plugin, name, value, at) VALUES (?, ?, ?, ?)", (*row, text, scope.ms)
            )
        scope.emit(ValueChanged(plugin=plugin, names=[name]))

    await write(kernel, ctx, "settings.set", work)
    manager.keep(plugin, name, value)
    return SettingChange(setting=_explain(manager, plugin, name), previous=msgspec.to_builtins(previous))


def _explain(manager: SettingsManager, plugin: str, name: str) -> Setting:
    from coder_local._contracts import docs  # noqa: PLC0415 - the daemon starts without it

    found = manager.found(plugin, name)
    used = next(each for each in found if each.fault is None)
    plain = [msgspec.to_builtins(each.value) for each in found]
    return Setting(
        plugin=plugin,
        name=name,
        value=msgspec.to_builtins(used.value),
        place=used.place,
        default=plain[-1],
        description=docs.of_fields(manager.type_of(plugin)).get(name, ""),
        variable=variable_of(plugin, name),
        sources=[
            SettingSource(place=each.place, where=each.where, value=value, used=each is used, fault=each.fault)
            for each, value in zip(found, plain, strict=True)
        ],
    )


def _announcer(kernel: Kernel) -> Callable[[str, tuple[str, ...]], None]:
    """Return what says changes of the file as events, on whichever thread they are noticed."""
    store = kernel.store

    def say(plugin: str, names: tuple[str, ...]) -> None:
        if not store.writer.running:
            return  # nobody listens yet; and without a thread a write inside another would take both back

        def work(scope: WriteScope) -> None:
            scope.emit(ValueChanged(plugin=plugin, names=list(names)))

        store.submit(work, Caller("daemon", operation="settings.file"), lambda _result, _error: None)

    return say
