"""The seams between plugins, on pluggy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pluggy

from coder_local.api.hooks import Hooks

from .plugins import Plugin

_PROJECT = "coder_local"


def manager(plugins: Iterable[Plugin]) -> pluggy.PluginManager:
    """Return a manager that knows the hooks and every loaded plugin's implementations.

    pluggy refuses an implementation with an argument that its hook does not have; that plugin's hooks are left out.
    """
    made = pluggy.PluginManager(_PROJECT)
    specify, implement = pluggy.HookspecMarker(_PROJECT), pluggy.HookimplMarker(_PROJECT)
    specs: dict[str, Callable[..., Any]] = {
        name: specify(function) for name, function in vars(Hooks).items() if not name.startswith("_")
    }
    made.add_hookspecs(type("Specifications", (), specs))
    for plugin in plugins:
        if plugin.loaded and plugin.domain is not None and plugin.domain.hooks:
            hooks = {name: implement(function) for name, function in plugin.domain.hooks.items()}
            made.register(SimpleNamespace(**hooks), plugin.name)
    return made
