"""What can be done now, what waits, and for what.

A task is blocked when it is held, when an open task blocks it, or when one of its ancestors is blocked: blocking is
inherited by children. That is derived each time and never stored. A closed task blocks nobody and its hold has ended,
but what blocks a closed parent still blocks the parent's open children.

Links come as `moments.Link`; links to unknown tasks are passed over. All functions are linear in tasks and links and
stay finite on a graph with cycles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from .moments import Link

REASONS = 50
"""The most reasons told of one task; a task below hundreds of blocked ancestors would else repeat them all."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """A task as the graph sees it: its fixed status category, and why it is held, if it is."""

    id: str
    category: Literal["backlog", "todo", "active", "closed"] = "todo"
    hold: str | None = None


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One direct reason for which `task` waits.

    `kind` is "hold" (then `hold` is its text) or "blocks" (then `blocker` is the open task it waits for).
    `via` names the ancestor from which the reason is inherited.
    """

    kind: Literal["hold", "blocks"]
    task: str
    blocker: str | None = None
    hold: str | None = None
    via: str | None = None

    @property
    def text(self) -> str:
        """The reason in words, as a list of blocked tasks shows it."""
        words = f'hold "{self.hold}"' if self.kind == "hold" else str(self.blocker)
        return f"{words} (through {self.via})" if self.via else words


class Graph(msgspec.Struct, frozen=True):
    """Tasks and links made ready for questions; positions index `nodes`. Make one with `index`."""

    nodes: tuple[Node, ...]
    positions: dict[str, int]
    open: list[bool]
    blocks: dict[int, list[int]]
    blockers: dict[int, list[int]]
    children: dict[int, list[int]]
    parents: dict[int, list[int]]


def index(nodes: Iterable[Node], links: Iterable[Link]) -> Graph:
    """Return the graph of these tasks and links; the order of `nodes` is the order of every answer."""
    known = tuple(nodes)
    positions = {node.id: position for position, node in enumerate(known)}
    blocks: defaultdict[int, list[int]] = defaultdict(list)
    blockers: defaultdict[int, list[int]] = defaultdict(list)
    children: defaultdict[int, list[int]] = defaultdict(list)
    parents: defaultdict[int, list[int]] = defaultdict(list)
    for link in links:
        source, target = positions.get(link.source), positions.get(link.target)
        if source is None or target is None:
            continue
        if link.kind == "blocks":
            blocks[source].append(target)
            blockers[target].append(source)
        else:
            children[source].append(target)
            parents[target].append(source)
    is_open = [node.category != "closed" for node in known]
    return Graph(known, positions, is_open, dict(blocks), dict(blockers), dict(children), dict(parents))


def waiting(graph: Graph) -> set[str]:
    """Return the open tasks that are blocked, in no order; a task without hold and links may be missing in `graph`."""
    return {graph.nodes[position].id for position in _waiting(graph, frozenset()) if graph.open[position]}


def ready(graph: Graph) -> list[str]:
    """Return the open tasks that nothing blocks, in the order of the nodes."""
    waiting = _waiting(graph, frozenset())
    return [node.id for position, node in enumerate(graph.nodes) if graph.open[position] and position not in waiting]


def blocked(graph: Graph) -> dict[str, tuple[Reason, ...]]:
    """Return each open task that is blocked with its direct reasons, in the order of the nodes.

    A task's own hold comes first, then its open blockers, then what it inherits; at most `REASONS` of them.
    """
    reasons = _reasons(graph)
    return {
        node.id: tuple(reasons[position])
        for position, node in enumerate(graph.nodes)
        if graph.open[position] and reasons.get(position)
    }


def chains(graph: Graph, id: str, *, limit: int = 8, depth: int = 64) -> list[tuple[Reason, ...]]:
    """Return the ways from a blocked task to the roots of its waiting, each reason's blocker leading to the next.

    A root is a hold, or a blocker that is not blocked itself. At most `limit` ways of at most `depth` steps: the
    number of all ways can grow beyond any bound. A way that would visit a task twice ends there.
    Raises KeyError for an unknown task.
    """
    reasons = _reasons(graph, only=_above(graph, graph.positions[id]))
    found: list[tuple[Reason, ...]] = []
    stack: list[tuple[Reason, ...]] = [(reason,) for reason in reversed(reasons.get(graph.positions[id], ()))]
    steps = limit * depth  # on a graph with cycles most ways lead nowhere
    while stack and len(found) < limit and steps:
        steps -= 1
        way = stack.pop()
        blocker = way[-1].blocker
        onward = reasons.get(graph.positions[blocker], ()) if blocker is not None else ()
        visited = {step.task for step in way}
        if not onward or len(way) >= depth or blocker in visited:
            found.append(way)
        else:
            stack.extend((*way, reason) for reason in reversed(onward))
    return found


def freed_by(graph: Graph, done: Collection[str]) -> list[str]:
    """Return the tasks that are blocked now and become ready when the tasks `done` are closed.

    `graph` is the state before they are closed; order of the nodes. Unknown ids are passed over.
    """
    closed = {graph.positions[id] for id in done if id in graph.positions}
    before, after = _waiting(graph, frozenset()), _waiting(graph, closed)
    freed = sorted(position for position in before - after if graph.open[position] and position not in closed)
    return [graph.nodes[position].id for position in freed]


def _waiting(graph: Graph, closed: Collection[int]) -> set[int]:
    """Return the positions of all blocked tasks, open or not, as if `closed` were closed."""
    is_open = graph.open
    queue = [
        position
        for position, node in enumerate(graph.nodes)
        if node.hold is not None and is_open[position] and position not in closed
    ]
    for source, targets in graph.blocks.items():
        if is_open[source] and source not in closed:
            queue.extend(targets)
    waiting = set(queue)
    while queue:
        for child in graph.children.get(queue.pop(), ()):
            if child not in waiting:
                waiting.add(child)
                queue.append(child)
    return waiting


def _reasons(graph: Graph, only: Collection[int] | None = None) -> dict[int, list[Reason]]:
    """Return the reasons of every blocked task, parents before children; `only` narrows it to some tasks."""
    found: dict[int, list[Reason]] = {}
    for position in _parents_first(graph, range(len(graph.nodes)) if only is None else only):
        own = _own_reasons(graph, position)
        above = [parent for parent in graph.parents.get(position, ()) if parent in found]
        if not above:  # most tasks: nothing is inherited
            if own:
                found[position] = own
            continue
        seen = {(reason.kind, reason.blocker, reason.hold) for reason in own}
        for parent in above:
            for reason in found[parent]:
                key = (reason.kind, reason.blocker, reason.hold)
                if key in seen or len(own) >= REASONS:
                    continue
                seen.add(key)
                own.append(
                    msgspec.structs.replace(
                        reason, task=graph.nodes[position].id, via=reason.via or graph.nodes[parent].id
                    )
                )
        if own:
            found[position] = own
    return found


def _own_reasons(graph: Graph, position: int) -> list[Reason]:
    node = graph.nodes[position]
    reasons: list[Reason] = []
    if node.hold is not None and graph.open[position]:
        reasons.append(Reason("hold", node.id, hold=node.hold))
    blockers = graph.blockers.get(position)
    for source in dict.fromkeys(blockers) if blockers else ():
        if graph.open[source] and len(reasons) < REASONS:
            reasons.append(Reason("blocks", node.id, blocker=graph.nodes[source].id))
    return reasons


def _parents_first(graph: Graph, positions: Collection[int]) -> Sequence[int]:
    """Return the positions with every parent before its children; those on a ring of parents come last."""
    if not graph.parents:
        return list(positions)
    inside = set(positions)
    above = {position: sum(p in inside for p in graph.parents.get(position, ())) for position in positions}
    order = [position for position, count in above.items() if not count]
    for position in order:
        for child in graph.children.get(position, ()):
            if child in above:
                above[child] -= 1
                if not above[child]:
                    order.append(child)
    return order if len(order) == len(above) else [*order, *inside.difference(order)]


def _above(graph: Graph, position: int) -> set[int]:
    """Return the task and all that it can wait for: ancestors, blockers, and theirs."""
    found = {position}
    queue = [position]
    while queue:
        current = queue.pop()
        for other in (*graph.blockers.get(current, ()), *graph.parents.get(current, ())):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found
