"""The graph of a plan's steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coder_plugins.planning.plans.rules.ways import flaws, longest_way


def test_double_keys_unknown_needs_and_rings_are_named() -> None:
    found = flaws([("a", ["b"]), ("b", ["a"]), ("b", []), ("c", ["a", "d"])])
    assert [(flaw.step, flaw.rule, flaw.pointer) for flaw in found[:2]] == [
        ("b", "duplicate", "/2/key"),
        ("c", "unknown_step", "/3/needs/1"),
    ]
    (ring,) = flaws([("a", ["b"]), ("b", ["a"])])
    assert ring.rule == "cycle"
    assert sorted(set(ring.message.removeprefix("these steps wait for each other: ").split(" > "))) == ["a", "b"]


def test_the_longest_way_is_through_needs_and_not_beside_them() -> None:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert longest_way(needs, {"a": 1, "b": 5, "c": 7, "d": 2}) == 10
    assert longest_way(needs, {"a": 1, "d": 2}) == 3
    assert longest_way({}, {}) == 0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_a_chain_takes_the_sum_and_a_heap_the_largest(times: list[int]) -> None:
    taken = {str(place): float(time) for place, time in enumerate(times)}
    chain = {str(place): [str(place - 1)] if place else [] for place in range(len(times))}
    assert longest_way(chain, taken) == sum(times)
    assert longest_way({key: [] for key in chain}, taken) == max(times)
    assert flaws(list(chain.items())) == []
