"""The seams between plugins, on pluggy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import CodeType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from coder_local.api import DeclarationError
from coder_local.api.hooks import Hooks

from .plugins import Plugin

if TYPE_CHECKING:
    import pluggy

_PROJECT = "coder_local"
SPECIFICATIONS: Mapping[str, Callable[..., Any]] = {
    name: function for name, function in vars(Hooks).items() if not name.startswith("_")
}


def check(name: str, function: Callable[..., Any]) -> None:
    """Raise `DeclarationError` unless there is a hook of that name, and it has all arguments that a function takes.

    pluggy would refuse it later, at the first use of any hook, and with it the hooks of everybody else.
    """
    if name not in SPECIFICATIONS:
        raise DeclarationError(f"there is no hook {name!r}; there are {', '.join(sorted(SPECIFICATIONS))}")
    known = arguments_of(SPECIFICATIONS[name])[1:]
    if wrong := [each for each in arguments_of(function) if each not in known]:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise DeclarationError(f"hook {name} has no argument {', '.join(wrong)}; {has}")


def arguments_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's arguments; `inspect` would cost 8 ms at start."""
    code: CodeType | None = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def manager(plugins: Iterable[Plugin]) -> pluggy.PluginManager:
    """Return a manager that knows the hooks and every loaded plugin's implementations."""
    import pluggy  # noqa: PLC0415 - 17 ms, and no hook is called at start

    made = pluggy.PluginManager(_PROJECT)
    specify, implement = pluggy.HookspecMarker(_PROJECT), pluggy.HookimplMarker(_PROJECT)
    made.add_hookspecs(type("Specifications", (), {name: specify(each) for name, each in SPECIFICATIONS.items()}))
    for plugin in plugins:
        if plugin.loaded and plugin.domain is not None and plugin.domain.hooks:
            hooks = {name: implement(function) for name, function in plugin.domain.hooks.items()}
            made.register(SimpleNamespace(**hooks), plugin.name)
    return made
