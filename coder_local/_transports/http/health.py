"""What `/health`, `/ready`, `/live` and `/api/services` say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coder_local import __version__
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Status
from coder_local._store.progress import Migrating
from coder_local.api import Error

Uptime = Callable[[], float]

_NOT_YET = frozenset({"starting", "migrating"})
_FINE = frozenset({Status.LOADING, Status.LOADED, Status.DISABLED, Status.NEEDS_ENABLING})
"""What a plugin is on its way, or because the person wants it so; anything else is a fault."""


def database(kernel: Kernel) -> str:
    """Return `connected`, or what is wrong with the database."""
    if kernel.store.damage is not None:
        return "damaged"
    try:
        kernel.store.bounds()
    except (Error, Exception):  # noqa: BLE001 - whatever it is, the database does not answer
        return "disconnected"
    return "connected"


def health(kernel: Kernel, uptime: float) -> dict[str, Any]:
    """Return the health of the whole.

    `unhealthy` without a database, else `starting` while plugins are loaded and `migrating` while tables are brought
    up to date, else `degraded` with one that failed. `at_work` has for each plugin that is not done what it does, and
    for how long it has; `migrating` how far a migration is.
    """
    found = database(kernel)
    plugins = kernel.registry.plugins
    fine = _FINE | {Status.LEFT_OUT} if kernel.safe else _FINE
    failed = any(plugin.status not in fine for plugin in plugins.values())
    state = "" if kernel.host is None else kernel.host.state
    status = state if state in _NOT_YET else "degraded" if failed else "healthy"
    return {
        "status": status if found == "connected" else "unhealthy",
        "service": "coder-local",
        "version": __version__,
        "uptime": int(uptime),
        "dependencies": {"database": found, **{name: str(plugin.status) for name, plugin in plugins.items()}},
        "at_work": {name: plugin.at_work for name, plugin in plugins.items() if plugin.at_work},
        "migrating": migrating(kernel),
    }


def migrating(kernel: Kernel) -> Migrating | None:
    """Return how far a migration is, if one runs."""
    step = kernel.store.airlock.progress.current
    return None if step is None else step.told()


def ready(kernel: Kernel) -> dict[str, Any]:
    """Tell whether work can be taken: the database answers, and what a loaded plugin requires is loaded."""
    reasons: list[str] = []
    if (found := database(kernel)) != "connected":
        reasons.append(f"the database is {found}")
    plugins = kernel.registry.plugins
    for plugin in plugins.values():
        reasons += [
            f"{plugin.name} requires {name}, which is not loaded"
            for name in (requires(plugin) if plugin.loaded else ())
            if name not in plugins or not plugins[name].loaded
        ]
    if kernel.host is not None and kernel.host.state != "ready":
        reasons.append(f"the daemon is {kernel.host.state}")
    reasons += [f"{name} is loading: {each.at_work}" for name, each in plugins.items() if each.status is Status.LOADING]
    step = migrating(kernel)
    if step is not None and reasons:
        reasons.append(step.message)
    return {"status": "not_ready" if reasons else "ready", "reasons": reasons, "migrating": step}


def services(kernel: Kernel) -> dict[str, Any]:
    """Return every plugin with what it offers and, if it is not loaded, why."""
    return {"items": [_service(kernel, name, plugin) for name, plugin in kernel.registry.plugins.items()]}


def _service(kernel: Kernel, name: str, plugin: Plugin) -> Mapping[str, Any]:
    operations = sorted(plugin.domain.operations) if plugin.loaded and plugin.domain is not None else []
    return {
        "name": name,
        "version": (plugin.domain.version if plugin.domain is not None else "") or __version__,
        "status": str(plugin.status),
        "reason": plugin.reason or plugin.at_work or None,
        "source": str(plugin.source),
        "operations": [each for each in operations if kernel.registry.offers(each)],
        "depends_on": list(requires(plugin)),
    }


def requires(plugin: Plugin) -> tuple[str, ...]:
    """Return the plugins that one cannot do without."""
    return plugin.domain.requires if plugin.domain is not None else ()
