"""Turning links round, because most formats can state a link at one of its ends only."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from .foreign import ForeignLink, ForeignTask, LinkKind


def flipped(link: ForeignLink, holder: str) -> ForeignLink:
    """Return the same link as its target states it; `holder` is the id of the task that stated it."""
    return ForeignLink(link.kind, holder, inward=link.kind != "relates" and not link.inward)


def settled(tasks: Sequence[ForeignTask], sayable: Collection[tuple[LinkKind, bool]]) -> list[ForeignTask]:
    """Move each link that a format can say at its other end only to that end; `sayable` holds (kind, inward).

    A link to a task outside `tasks`, and one that the format can say nowhere, stays where it is.
    """
    held = {task.id: dict.fromkeys(task.links) for task in tasks}
    for task in tasks:
        for link in task.links:
            turned = flipped(link, task.id)
            here, there = (link.kind, link.inward) in sayable, (turned.kind, turned.inward) in sayable
            if there and not here and link.target in held and link.target != task.id:
                del held[task.id][link]
                held[link.target].setdefault(turned)
    return [replace(task, links=tuple(held[task.id])) for task in tasks]
