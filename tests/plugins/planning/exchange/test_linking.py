"""Which links an import makes: whatever the records state, the outcome holds together and is the same a second time."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from coder_plugins.planning.exchange.rules.linking import Edge, LinkPlan, Stating, Stored, canonical, edge_of, plan
from coder_plugins.planning.formats import ForeignLink
from coder_plugins.planning.links.records import ORDERING, as_ordering
from coder_plugins.planning.rules import cycles, moments

NODES = "abcdef"
KINDS = ("blocks", "parent", "relates", "duplicates")

foreign_links = st.builds(
    lambda kind, target, inward: ForeignLink(kind, target, inward=inward and kind != "relates"),
    st.sampled_from(KINDS),
    st.sampled_from([*NODES, "elsewhere"]),
    st.booleans(),
)
statings = st.lists(st.lists(foreign_links, max_size=4).map(tuple), min_size=len(NODES), max_size=len(NODES)).map(
    lambda lists: [Stating(node, node, now) for node, now in zip(NODES, lists, strict=True)]
)


def made(records: Sequence[Stating], existing: dict[Edge, Stored] | None = None) -> LinkPlan:
    return plan(records, lambda name: name if name in NODES else None, existing or {}, lambda _: True)


def stored(edges: Sequence[Edge]) -> dict[Edge, Stored]:
    return {canonical(edge): Stored(str(number), imported=True) for number, edge in enumerate(edges)}


def ordering(edges: Sequence[Edge]) -> list[moments.Link]:
    return [moments.Link(as_ordering(edge.kind), edge.source, edge.target) for edge in edges if edge.kind in ORDERING]


def test_each_kind_stands_the_way_it_is_read() -> None:
    ways = {
        ("blocks", False): "ab",
        ("blocks", True): "ba",
        ("parent", False): "ba",
        ("parent", True): "ab",
        ("duplicates", False): "ab",
        ("fixes", True): "ba",
        ("relates", False): "ab",
    }
    for (kind, inward), ends in ways.items():
        edge = edge_of("a", ForeignLink(kind, "b", inward=inward), "b")
        assert edge == (kind, *ends), (kind, inward)
    assert edge_of("b", ForeignLink("relates", "a"), "a") == ("relates", "a", "b")


@given(statings)
def test_every_statement_is_made_refused_or_unresolved_and_no_ring_is_closed(records: list[Stating]) -> None:
    found = made(records)
    assert cycles.first_cycle(ordering(found.create)) is None
    assert len(set(found.create)) == len(found.create) == found.standing
    unmade = {(node, link) for node, links in found.unmade.items() for link in links}
    for record in records:
        for link in record.now:
            is_made = link.target in NODES and edge_of(record.node, link, link.target) in found.create
            assert is_made != ((record.node, link) in unmade)
    assert {statement.link.target for statement in found.unresolved} <= {"elsewhere"}
    for _, ring in found.refused:
        assert ring[0] == ring[-1]


@given(statings)
def test_links_are_made_in_an_order_that_the_rule_accepts_at_each_step(records: list[Stating]) -> None:
    before: list[moments.Link] = []
    for link in ordering(made(records).create):
        assert cycles.find_cycle(cycles.touching(before), link) is None
        before.append(link)


@given(statings)
def test_the_same_again_changes_nothing(records: list[Stating]) -> None:
    first = made(records)
    again = [
        Stating(each.node, each.id, each.now, each.now, tuple(first.unmade.get(each.node, ()))) for each in records
    ]
    second = made(again, stored(first.create))
    assert (second.create, second.delete, second.standing) == ([], [], first.standing)
    assert second.unmade == first.unmade


@given(statings)
def test_what_is_no_longer_stated_goes_unless_a_person_made_it(records: list[Stating]) -> None:
    first = made(records)
    silent = [Stating(each.node, each.id, (), each.now, tuple(first.unmade.get(each.node, ()))) for each in records]
    here = stored(first.create)
    assert sorted(made(silent, here).delete) == sorted(each.id for each in here.values())
    own = {edge: Stored(each.id, imported=False) for edge, each in here.items()}
    assert made(silent, own).delete == []


def test_a_chain_is_made_from_its_beginning() -> None:
    records = [Stating(str(i), str(i), (ForeignLink("blocks", str(i - 1), inward=True),)) for i in range(5, 0, -1)]
    found = plan([*records, Stating("0", "0", ())], str, {}, lambda _: False)
    assert [edge.source for edge in found.create] == ["0", "1", "2", "3", "4"]
