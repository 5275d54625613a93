"""How two versions of a plan differ, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

Plain = Mapping[str, Any]


class Difference(NamedTuple):
    """The steps by key. Kept, changed and added stand in the order of the later version, removed of the earlier."""

    kept: list[str]
    changed: dict[str, list[str]]
    """By key of the step the fields that differ, as `needs` or `input.path`."""
    added: list[str]
    removed: list[str]


def difference(before: Sequence[Plain], after: Sequence[Plain]) -> Difference:
    """Return what became of each step. Steps are plain data with a `key`; the same key is the same step."""
    old = {step["key"]: step for step in before}
    new = {step["key"]: step for step in after}
    both = {key: fields(old[key], step) for key, step in new.items() if key in old}
    return Difference(
        kept=[key for key, differing in both.items() if not differing],
        changed={key: differing for key, differing in both.items() if differing},
        added=[key for key in new if key not in old],
        removed=[key for key in old if key not in new],
    )


def fields(before: Plain, after: Plain) -> list[str]:
    """Return the fields that differ, by name; inside objects down to the value (`input.path`), lists as a whole."""
    return list(_fields(before, after, ""))


def _fields(before: Plain, after: Plain, path: str) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        first, second = before.get(name), after.get(name)
        where = f"{path}.{name}" if path else name
        if name in before and name in after and isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from _fields(cast("Plain", first), cast("Plain", second), where)
        elif name not in before or name not in after or first != second:
            yield where
