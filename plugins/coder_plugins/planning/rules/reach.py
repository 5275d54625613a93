"""What stands in the way of what, all the way: how much each open task unblocks, and a value inherited along it.

Finishing a task unblocks the tasks it blocks, their children, whatever those block in turn, and, because a parent is
complete only after its children, what the parent blocks. Closed tasks neither count nor pass anything on.
Tasks on a cycle are answered as far as the graph is without it, never for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import moments
from .errors import TooLarge
from .graph import Graph

LIMIT = 20_000
"""Open tasks for which `unblocks` answers; its sets take this number squared over 4 bytes at worst."""


def unblocks(graph: Graph) -> dict[str, int]:
    """Return for each open task the number of open tasks that wait for it, directly or not.

    Raises TooLarge over `LIMIT` open tasks that have links.
    """
    after = _open_followers(graph)
    order = moments.topological(after)
    linked = [position for position, is_open in enumerate(graph.open) if is_open and _is_linked(graph, position)]
    if len(linked) > LIMIT:
        raise TooLarge("open linked tasks", len(linked), LIMIT)
    bits = dict(zip(linked, _component_numbers(graph, linked), strict=True))
    # Python's integers serve as sets: one bit a task, a union in one machine-speed operation.
    reached = [0] * len(after)
    for moment in reversed(order):
        union = 0
        for target in after[moment]:
            union |= reached[target]
            if not target & 1 and target != moment and graph.open[target >> 1]:
                union |= 1 << bits[target >> 1]
        reached[moment] = union
    return {
        node.id: reached[moments.finish(position)].bit_count()
        for position, node in enumerate(graph.nodes)
        if graph.open[position]
    }


def inherit(graph: Graph, values: Sequence[float]) -> dict[int, int]:
    """Return for each open task that unblocks a task of higher value the position of the highest such task.

    `values` go by the graph's positions; those of closed tasks do not count. Tasks that are not in the answer unblock
    nothing of a higher value than their own.
    """
    tied = [
        position
        for position, is_open in enumerate(graph.open)
        if is_open and (position in graph.blockers or position in graph.parents)
    ]
    tied.sort(key=values.__getitem__, reverse=True)
    climbed: set[int] = set()
    origins: dict[int, int] = {}
    for origin in tied:
        # From the highest down, each task floods what stands in its way; the first flood to come is the highest.
        if origin not in climbed:
            _flood(graph, origin, climbed, origins)
    return {position: origin for position, origin in origins.items() if values[origin] > values[position]}


def _flood(graph: Graph, origin: int, climbed: set[int], origins: dict[int, int]) -> None:
    is_open, blockers, parents, children = graph.open, graph.blockers, graph.parents, graph.children
    climb = [origin]
    while climb:
        position = climb.pop()
        if position in climbed:
            continue
        climbed.add(position)
        climb.extend(parents.get(position, ()))
        needed = list(blockers.get(position, ()))
        while needed:
            blocker = needed.pop()
            if is_open[blocker] and blocker not in origins:
                origins[blocker] = origin
                climb.append(blocker)
                needed.extend(children.get(blocker, ()))


def _open_followers(graph: Graph) -> list[list[int]]:
    """Return the moments that wait for each moment, leaving out what closed tasks have settled.

    A task's own finish follows its start first in its list.
    """
    is_open = graph.open
    after: list[list[int]] = [[] for _ in range(2 * len(graph.nodes))]
    for position, flag in enumerate(is_open):
        if flag:
            after[2 * position].append(2 * position + 1)
    for source, targets in graph.blocks.items():
        if is_open[source]:
            after[2 * source + 1].extend([2 * target for target in targets])
    for parent, children in graph.children.items():
        after[2 * parent].extend([2 * child for child in children])
        if is_open[parent]:
            for child in children:
                after[2 * child + 1].append(2 * parent + 1)
    return after


def _is_linked(graph: Graph, position: int) -> bool:
    return (
        position in graph.blocks
        or position in graph.blockers
        or position in graph.children
        or position in graph.parents
    )


def _component_numbers(graph: Graph, linked: Sequence[int]) -> list[int]:
    """Return for each linked task its number within its connected part, so that small parts have small sets."""
    number: dict[int, int] = {}
    for first in linked:
        if first in number:
            continue
        seen = {first}
        queue = [first]
        for position in queue:
            for table in (graph.blocks, graph.blockers, graph.children, graph.parents):
                for other in table.get(position, ()):
                    if other not in seen:
                        seen.add(other)
                        queue.append(other)
        number.update((position, count) for count, position in enumerate(queue))
    return [number[position] for position in linked]
