"""Exchanging the content of a plugin that runs for another, without a restart.

The new content is imported while the old one answers. Then calls of the plugin are held back, those under way end, the
old content stops and the new one is taken in; where that fails at any step, the old one goes on.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from coder_local._registry import modules
from coder_local._registry.kernel import Kernel
from coder_local._registry.pausing import at_rest
from coder_local._registry.plugins import Plugin, Source, Status, content_hash
from coder_local.api import DeclarationError, Domain, Operation

from .taking import bring_up, imported
from .work import alone

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Outcome(NamedTuple):
    """What became of a reload."""

    plugin: Plugin
    """The one that runs now: the new one, or the old one where `fault` says why."""
    fault: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    took_ms: float = 0.0


async def reload(kernel: Kernel, old: Plugin, present: str) -> Outcome:
    """Exchange a loaded plugin for the content of its files, whose hash is `present`; `kernel.changing` is held."""
    begun = time.monotonic()
    fresh = Plugin(old.name, old.source, old.location)
    fresh.content, fresh.edition = present, old.edition + 1
    if shared := shares_its_package(kernel, old):
        return _failed(old, shared, begun)
    before, domain = modules.of(old.root), await imported(kernel, fresh, lambda: _load(kernel, fresh))
    fault = fresh.reason if domain is None else await _exchange(kernel, old, fresh, domain)
    if fault:
        _drop(fresh, old)
        modules.put_back(old.root, before)  # of an installed one they were exchanged; an import may hang in the middle
        return _failed(old, fault, begun)
    _drop(old, fresh)
    added, removed, changed = _difference(old, fresh)
    return Outcome(fresh, "", added, removed, changed, tuple(modules.left_by(before)), _since(begun))


def _load(kernel: Kernel, fresh: Plugin) -> Domain | None:
    """Import a new content; None, with the reason set, if it cannot be, or if it is another one meanwhile."""
    before = modules.of(fresh.root)
    if fresh.source is Source.ENTRY_POINT:
        modules.forget_bytecode(before)
    domain = kernel.registry.load(fresh, anew=True)
    try:
        same = content_hash(fresh) == fresh.content
    except (OSError, DeclarationError):
        same = False
    if domain is not None and not same:  # half of it was read before somebody saved the rest
        modules.put_back(fresh.root, before)
        fresh.stop(Status.NEEDS_ENABLING, "its files changed while they were imported; reload it again")
        return None
    return domain


async def _exchange(kernel: Kernel, old: Plugin, fresh: Plugin, domain: Domain) -> str:
    """Put the new content in the place of the old; return why not if it cannot be, with the old one running again."""
    before = old.domain
    assert before is not None, "it is loaded"  # noqa: S101 - for the type checker
    async with at_rest(kernel.dispatcher, before.name):
        await kernel.end(old)
        await alone(kernel, "plugins.reload", lambda: None)  # what its listeners had begun is committed
        kernel.registry.stop(old, Status.DISABLED, "its content is being exchanged")
        await bring_up(kernel, fresh, domain)
        if fresh.loaded:
            return ""
        why = f"{fresh.status}: {fresh.reason}"
        await bring_up(kernel, old, before)
        if not old.loaded:
            why += f"; and the old content cannot go on: {old.reason}"
        return why


def _failed(old: Plugin, why: str, begun: float) -> Outcome:
    if old.loaded:
        old.reason = f"its new content cannot be loaded ({why}); the one before still runs"
    return Outcome(old, why, took_ms=_since(begun))


def _since(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)


def _drop(gone: Plugin, stays: Plugin) -> None:
    """Take the modules of a content away that runs no more; those of an installed one were exchanged already."""
    if gone.root != stays.root:
        modules.take(gone.root)


def shares_its_package(kernel: Kernel, plugin: Plugin) -> str:
    """Return why the modules of an installed plugin must not be exchanged, if another one's are among them."""
    if plugin.source is not Source.ENTRY_POINT:
        return ""
    others = (each for each in kernel.registry.plugins.values() if each is not plugin and each.module is not None)
    other = next((each for each in others if each.root == plugin.root), None)
    if other is None:
        return ""
    return f"its package is also that of plugin {other.name}, which would be half reloaded; restart the daemon"


def _difference(old: Plugin, fresh: Plugin) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the operations that came, that went, and that are declared otherwise than before."""
    was, now = _declared(old), _declared(fresh)
    changed = [name for name in sorted(was.keys() & now.keys()) if was[name] != now[name]]
    return tuple(sorted(now.keys() - was.keys())), tuple(sorted(was.keys() - now.keys())), tuple(changed)


def _declared(plugin: Plugin) -> dict[str, str]:
    assert plugin.domain is not None, "it was loaded"  # noqa: S101 - for the type checker
    return {name: _shape(plugin.root, each) for name, each in plugin.domain.operations.items()}


def _shape(root: str, operation: Operation) -> str:
    """Return all that a caller sees of an operation as text, without the name of the content it stands in."""
    function, standard = operation.function, operation.standard
    seen: list[object] = [operation.kind, operation.safety, operation.deadline, operation.person_only, operation.quick]
    if function is not None:
        seen += [getattr(function, name, None) for name in ("__doc__", "__annotations__", "__kwdefaults__")]
    if standard is not None:
        record = standard.record
        seen += [standard.filters, standard.sort, standard.search, record.__doc__]
        seen += [record.__struct_fields__, record.__struct_defaults__, record.__annotations__]
    return _ADDRESS.sub("", repr(seen).replace(root, ""))
