"""Cycles among tasks: refusing the one link that would close a ring, and cleaning a set of imported links."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from . import moments
from .moments import Link

Moment = tuple[str, bool]


def touching(links: Iterable[Link]) -> Callable[[str], Sequence[Link]]:
    """Return a look-up from a task's id to the links at either end of it."""
    found: dict[str, list[Link]] = {}
    for link in links:
        found.setdefault(link.source, []).append(link)
        found.setdefault(link.target, []).append(link)
    return lambda task: found.get(task, ())


def find_cycle(links_of: Callable[[str], Iterable[Link]], new: Link) -> list[str] | None:
    """Return the shortest cycle that adding `new` would close, or None when it may be added.

    `links_of` gives the stored links at either end of a task, so that only the neighbourhood of the new link is read.
    The answer begins and ends with the new link's target: adding "c blocks a" to a > b > c gives [a, b, c, a].
    What counts as a cycle is told in `moments`.
    """
    if new.source == new.target:
        return [new.source, new.source]
    if new.kind == "blocks":
        return _closed(links_of, (new.target, False), (new.source, True))
    by_start = _closed(links_of, (new.target, False), (new.source, False))
    by_finish = _closed(links_of, (new.source, True), (new.target, True))
    if by_finish:
        by_finish = [new.target, *by_finish[:-1]]
    return min((ring for ring in (by_start, by_finish) if ring), key=len, default=None)


def first_cycle(links: Sequence[Link]) -> list[str] | None:
    """Return one cycle among `links`, its first task again at the end, or None."""
    ids = list(dict.fromkeys(id for link in links for id in (link.source, link.target)))
    after = moments.followers({id: position for position, id in enumerate(ids)}, links)
    ring = moments.ring(after, moments.topological(after))
    return _round([ids[moment // 2] for moment in ring]) if ring else None


def without_cycles(links: Sequence[Link]) -> tuple[list[Link], list[tuple[Link, list[str]]]]:
    """Return the links that stay acyclic together, and each refused link with the cycle it would have closed.

    Links are taken in the order given, so the earlier one stays. Linear when there is no cycle, which is the common
    case of an import; else only the links that are tied up in a cycle are tried one by one.
    """
    tied = _tied(links)
    kept = [link for number, link in enumerate(links) if number not in tied]
    known: dict[str, list[Link]] = {}

    def keep(link: Link) -> None:
        known.setdefault(link.source, []).append(link)
        known.setdefault(link.target, []).append(link)

    for link in kept:
        keep(link)
    refused: list[tuple[Link, list[str]]] = []
    for number in sorted(tied):
        ring = find_cycle(lambda task: known.get(task, ()), links[number])
        if ring:
            refused.append((links[number], ring))
        else:
            keep(links[number])
    turned_away = {id(link) for link, _ in refused}
    return [link for link in links if id(link) not in turned_away], refused


def _tied(links: Sequence[Link]) -> set[int]:
    """Return the numbers of the links between tasks that lie on cycles or between two of them."""
    ids = list(dict.fromkeys(id for link in links for id in (link.source, link.target)))
    positions = {id: position for position, id in enumerate(ids)}
    after = moments.followers(positions, links)
    ahead = set(moments.topological(after))
    if len(ahead) == len(after):
        return set()
    before: list[list[int]] = [[] for _ in after]
    for moment, targets in enumerate(after):
        for target in targets:
            before[target].append(moment)
    behind = set(moments.topological(before))
    stuck = {ids[moment // 2] for moment in range(len(after)) if moment not in ahead and moment not in behind}
    return {number for number, link in enumerate(links) if link.source in stuck and link.target in stuck}


def _closed(links_of: Callable[[str], Iterable[Link]], origin: Moment, goal: Moment) -> list[str] | None:
    """Return the shortest way from `origin` to `goal` as task ids, closed by the first one; None without a way."""
    came_from: dict[Moment, Moment | None] = {origin: None}
    queue = deque([origin])
    while queue:
        moment = queue.popleft()
        if moment == goal:
            path: list[str] = []
            step: Moment | None = moment
            while step is not None:
                path.append(step[0])
                step = came_from[step]
            return _round(path[::-1])
        for following in _following(links_of, moment):
            if following not in came_from:
                came_from[following] = moment
                queue.append(following)
    return None


def _following(links_of: Callable[[str], Iterable[Link]], moment: Moment) -> Iterable[Moment]:
    id, finished = moment
    if not finished:
        yield id, True
    for link in links_of(id):
        if link.kind == "blocks":
            if finished and link.source == id:
                yield link.target, False
        elif finished and link.target == id:
            yield link.source, True
        elif not finished and link.source == id:
            yield link.target, False


def _round(walk: Sequence[str]) -> list[str]:
    """Return a walk with each run of one task told once, and its first task again at the end."""
    told = [id for number, id in enumerate(walk) if number == 0 or id != walk[number - 1]]
    return told if len(told) > 1 and told[-1] == told[0] else [*told, told[0]]
