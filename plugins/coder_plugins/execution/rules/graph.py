"""The graph of a definition: what needs what, in which order, and what the result of each step hangs on."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from coder_plugins.execution.definitions.records import StepSpec

from .hashing import content_hash
from .references import find

_HASHED = ("kind", "input", "needs", "join", "run_if", "when", "foreach", "matrix", "fan_in")
"""What of a step its result hangs on; its title, its times and its retries are not among it."""


class Graph:
    """Some steps, by key, with both directions of their arrows. Immutable; shared by all runs of a definition."""

    def __init__(self, steps: Sequence[StepSpec]) -> None:
        self.specs = {step.key: step for step in steps}
        self.positions = {step.key: index for index, step in enumerate(steps)}
        self.followers: dict[str, list[str]] = {key: [] for key in self.specs}
        for step in steps:
            for need in step.needs:
                self.followers[need].append(step.key)

    @property
    def last(self) -> list[str]:
        """Keys of the steps that no other needs."""
        return [key for key, after in self.followers.items() if not after]

    def after(self, key: str) -> set[str]:
        """Return the keys of a step and of all that hang on it."""
        found: set[str] = set()
        open_ = [key]
        while open_:
            each = open_.pop()
            if each not in found:
                found.add(each)
                open_ += self.followers[each]
        return found

    def hashes(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        """Return the hash of each step: of what it is, of the inputs it refers to, and of what it needs."""
        found: dict[str, str] = {}
        for key in order(list(self.specs.values())):
            spec = self.specs[key]
            parts: dict[str, Any] = {name: msgspec.to_builtins(getattr(spec, name)) for name in _HASHED}
            named = {place.path[1] for place in find(parts) if place.path[0] == "inputs" and len(place.path) > 1}
            parts["inputs"] = {name: inputs.get(name) for name in named}
            parts["needed"] = [found[need] for need in spec.needs]
            found[key] = content_hash(parts)
        return found


def order(steps: Sequence[StepSpec]) -> list[str]:
    """Return the keys in an order in which each stands after what it needs. Raises `graphlib.CycleError`."""
    sorter = graphlib.TopologicalSorter({step.key: step.needs for step in steps})
    return list(sorter.static_order())


def before(steps: Sequence[StepSpec], key: str) -> set[str]:
    """Return the keys of all that must have ended before a step begins."""
    needs = {step.key: step.needs for step in steps}
    found: set[str] = set()
    open_ = list(needs[key])
    while open_:
        each = open_.pop()
        if each not in found:
            found.add(each)
            open_ += needs.get(each, [])
    return found


def cycle(steps: Sequence[StepSpec]) -> list[str]:
    """Return the keys along one cycle, the first one again at the end, or nothing if there is none."""
    try:
        order(steps)
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []
