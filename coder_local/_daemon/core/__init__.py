"""The core's own operations, declared as any plugin declares its own.

Made for one kernel: they close over it, because they speak of what is loaded, of the process, of the store as a whole.
They are taken in before any plugin, so that no plugin can take their names.
"""

from __future__ import annotations

from coder_local._registry.kernel import Kernel
from coder_local.api import Domain

from . import audit, changes, daemon, events, operations, plugins, settings, store, tokens
from .grants import granted_plugins, read_grants

__all__ = ["EARLY", "UNREADY", "core_domains", "granted_plugins", "read_grants"]

EARLY = (
    "audit.list",
    "daemon.handover",
    "daemon.log_level",
    "daemon.status",
    "daemon.stop",
    "events.list",
    "plugins.list",
    "store.backup",
    "store.snapshot",
    "store.snapshots",
    "tokens.create",
    "tokens.list",
    "tokens.revoke",
)
"""Operations that need no plugin, and answer while plugins are loaded: a plugin that hangs must not hide itself."""

UNREADY = ("daemon.handover", "daemon.log_level", "daemon.status", "daemon.stop", "plugins.list")
"""Those of them that answer while the core's own tables are migrated."""


def core_domains(kernel: Kernel) -> list[Domain]:
    """Return the core's domains; `kernel.take` each before loading plugins."""
    return [
        operations.declare(kernel),
        plugins.declare(kernel),
        changes.declare(),
        audit.declare(kernel),
        events.declare(),
        settings.declare(kernel),
        tokens.declare(kernel),
        daemon.declare(kernel),
        store.declare(kernel),
    ]
