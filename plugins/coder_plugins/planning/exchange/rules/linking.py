"""Which links an import makes and takes away, told from what records state now and stated before; pure functions.

Records are named by nodes: the id of a task that is here, or any other text for one that is about to be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from coder_plugins.planning.formats import ForeignLink
from coder_plugins.planning.links.records import ORDERING, LinkKind, as_ordering
from coder_plugins.planning.rules import cycles, moments


class Edge(NamedTuple):
    """A link between two nodes; read it `source kind target`, as `planning.links` does."""

    kind: LinkKind
    source: str
    target: str


class Stored(NamedTuple):
    """A link that is here; `imported` tells whether an import made it."""

    id: str
    imported: bool


class Stating(Struct, frozen=True):
    """One record and the links it states: now, at the last import, and those of the last import that were not made."""

    node: str
    id: str
    now: tuple[ForeignLink, ...]
    before: tuple[ForeignLink, ...] = ()
    unmade: tuple[ForeignLink, ...] = ()


class Statement(NamedTuple):
    """One link as one record states it."""

    record: Stating
    link: ForeignLink


class LinkPlan(Struct):
    """What is to be done with links."""

    create: list[Edge] = field(default_factory=list[Edge])
    """In an order in which no link has much behind it when it is made, so that the search for a ring ends at once."""
    delete: list[str] = field(default_factory=list[str])
    """Ids of links."""
    standing: int = 0
    """Links that are stated and will be here."""
    unresolved: list[Statement] = field(default_factory=list[Statement])
    refused: list[tuple[Statement, list[str]]] = field(default_factory=list[tuple[Statement, list[str]]])
    """Links that would close a ring, each with the ring's nodes."""
    unmade: dict[str, list[ForeignLink]] = field(default_factory=dict[str, list[ForeignLink]])
    """By node, what it states and does not get."""

    def leave(self, statement: Statement) -> None:
        """Note that a link is not made."""
        self.unmade.setdefault(statement.record.node, []).append(statement.link)


def edge_of(holder: str, link: ForeignLink, target: str) -> Edge:
    """Return the link that the record at `holder` states of the one at `target`."""
    forth = (link.kind == "parent") is link.inward
    return canonical(Edge(link.kind, holder, target) if forth else Edge(link.kind, target, holder))


def canonical(edge: Edge) -> Edge:
    """Return the one of two equal links that stands for both: `relates` has no direction."""
    if edge.kind == "relates" and edge.source > edge.target:
        return Edge(edge.kind, edge.target, edge.source)
    return edge


def plan(
    records: Sequence[Stating],
    resolve: Callable[[str], str | None],
    existing: Mapping[Edge, Stored],
    is_here: Callable[[str], bool],
) -> LinkPlan:
    """Return what to do so that the stated links stand.

    `resolve` gives the node of a foreign id, None where it is not here; `existing` holds all links that are here, in
    canonical form; `is_here` tells nodes that are here from those about to be made. A link that was made once and
    taken away here stays away; one that the source dropped goes, if an import had made it.
    """
    result = LinkPlan()
    stated: dict[Edge, list[Statement]] = {}
    wanted: set[Edge] = set()
    for record in records:
        for link in dict.fromkeys(record.now):
            statement, target = Statement(record, link), resolve(link.target)
            if target is None:
                result.unresolved.append(statement)
                result.leave(statement)
            elif target == record.node:
                result.refused.append((statement, [target, target]))
                result.leave(statement)
            else:
                edge = edge_of(record.node, link, target)
                stated.setdefault(edge, []).append(statement)
                made_before = link in record.before and link not in record.unmade
                if not made_before or not (is_here(record.node) and is_here(target)):
                    wanted.add(edge)
    dropped = set(_dropped(records, resolve)) - stated.keys()
    result.delete = [existing[edge].id for edge in sorted(dropped) if edge in existing and existing[edge].imported]
    deleted = set(result.delete)
    left = [edge for edge, stored in existing.items() if stored.id not in deleted]
    fresh = [edge for edge in stated if edge in wanted and edge not in existing]
    _settle(result, stated, left, fresh)
    result.standing = len(stated.keys() & {*left, *result.create})
    return result


def _dropped(records: Sequence[Stating], resolve: Callable[[str], str | None]) -> Iterable[Edge]:
    for record in records:
        for link in set(record.before).difference(record.now, record.unmade):
            target = resolve(link.target)
            if target is not None:
                yield edge_of(record.node, link, target)


def _settle(
    result: LinkPlan, stated: Mapping[Edge, list[Statement]], left: Sequence[Edge], fresh: Sequence[Edge]
) -> None:
    """Choose among the fresh links those that close no ring, and put them in order."""
    here = [_ordering(edge) for edge in left if edge.kind in ORDERING]
    new = [_ordering(edge) for edge in fresh if edge.kind in ORDERING]
    kept, refused = cycles.without_cycles([*here, *new])
    for link, ring in refused:
        for number, statement in enumerate(stated.get(Edge(link.kind, link.source, link.target), ())):
            if number == 0:
                result.refused.append((statement, ring))
            result.leave(statement)
    gone = {id(link) for link, _ in refused}
    result.create = [edge for edge in fresh if edge.kind not in ORDERING]
    result.create += _in_order([link for link in new if id(link) not in gone], kept)


def _ordering(edge: Edge) -> moments.Link:
    return moments.Link(as_ordering(edge.kind), edge.source, edge.target)


def _in_order(new: Sequence[moments.Link], everything: Sequence[moments.Link]) -> list[Edge]:
    """Return new links so that each is made before those that come after it in time.

    Made in the order of the file, each link would be checked against all that lies behind it: of 20,000 links in
    a chain that is 200,000,000 steps.
    """
    ids = list(dict.fromkeys(node for link in everything for node in (link.source, link.target)))
    positions = {node: position for position, node in enumerate(ids)}
    order = moments.topological(moments.followers(positions, everything))
    places = {moment: place for place, moment in enumerate(order)}

    def place(link: moments.Link) -> int:
        begins = moments.finish if link.kind == "blocks" else moments.start
        return places[begins(positions[link.source])]

    return [Edge(link.kind, link.source, link.target) for link in sorted(new, key=place)]
