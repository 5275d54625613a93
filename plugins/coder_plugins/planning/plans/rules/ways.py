"""The graph of a plan's steps: whether it can be run at all, and the longest way through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Flaw(NamedTuple):
    """Something that is wrong with the keys and needs of steps."""

    step: str
    rule: str
    """`duplicate`, `unknown_step` or `cycle`."""
    message: str
    pointer: str
    """Below the steps, `/0/needs/1`."""


def flaws(steps: Sequence[tuple[str, Sequence[str]]]) -> list[Flaw]:
    """Return what is wrong with steps, given as keys with what each needs: double keys, unknown needs, a ring."""
    from graphlib import CycleError, TopologicalSorter  # noqa: PLC0415 - only a plan without execution needs it here

    found: list[Flaw] = []
    keys = [key for key, _ in steps]
    for index, (key, needs) in enumerate(steps):
        if key in keys[:index]:
            found.append(Flaw(key, "duplicate", f"two steps are called {key}", f"/{index}/key"))
        found += [
            Flaw(key, "unknown_step", f"{key} needs {need}, which is no step", f"/{index}/needs/{place}")
            for place, need in enumerate(needs)
            if need not in keys
        ]
    try:
        TopologicalSorter(dict(steps)).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        found.append(Flaw(ring[0], "cycle", f"these steps wait for each other: {' > '.join(ring)}", ""))
    return found


def longest_way(needs: Mapping[str, Sequence[str]], taken: Mapping[str, float]) -> float:
    """Return the length of the longest way through steps without a ring; a step that is not in `taken` counts 0."""
    from graphlib import TopologicalSorter  # noqa: PLC0415 - see above

    ends: dict[str, float] = {}
    for key in TopologicalSorter(needs).static_order():
        ends[key] = taken.get(key, 0) + max((ends[need] for need in needs.get(key, ())), default=0)
    return max(ends.values(), default=0)
