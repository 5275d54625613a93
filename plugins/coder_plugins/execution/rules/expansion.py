"""What a fan-out becomes: one item for each element of a list, or for each combination of a matrix."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from coder_plugins.execution.definitions.records import Matrix

_KEY_LIMIT = 200


class Item(NamedTuple):
    """One step of a fan-out."""

    key: str
    """`test[linux,3.12]`"""
    value: Any
    """The element, or the combination by axis."""


def of_list(key: str, elements: Sequence[Any]) -> list[Item]:
    """Return an item for each element, called by short texts and numbers themselves, else by their index.

    Two equal names would be one step: if there are such, all are called by index.
    """
    named = [Item(f"{key}[{_word(element, index)}]", element) for index, element in enumerate(elements)]
    if len({item.key for item in named}) == len(named):
        return named
    return [Item(f"{key}[{index}]", element) for index, element in enumerate(elements)]


def of_matrix(key: str, matrix: Matrix) -> list[Item]:
    """Return an item for each combination that is not excluded, the last axis changing fastest.

    All are called by their index where two would have one name, or one would have a name that is none.
    """
    axes = list(matrix.axes)
    combinations = (dict(zip(axes, values, strict=True)) for values in itertools.product(*matrix.axes.values()))
    kept = [each for each in combinations if not any(_covers(excluded, each) for excluded in matrix.exclude)]
    named = [Item(f"{key}[{','.join(_text(each[axis]) for axis in axes)}]", each) for each in kept]
    if len({item.key for item in named}) == len(named) and all(_is_key(item.key) for item in named):
        return named
    return [Item(f"{key}[{index}]", each) for index, each in enumerate(kept)]


def size(matrix: Matrix) -> int:
    """Return how many combinations there are before any is excluded."""
    total = 1
    for values in matrix.axes.values():
        total *= len(values)
    return total


def _covers(excluded: dict[str, Any], combination: dict[str, Any]) -> bool:
    return all(axis in combination and combination[axis] == value for axis, value in excluded.items())


def _is_key(text: str) -> bool:
    return len(text) <= _KEY_LIMIT and text.isprintable()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _word(element: Any, index: int) -> str:
    text = _text(element) if isinstance(element, (str, int, float)) else str(index)
    return text if 0 < len(text) <= 64 and text.isprintable() else str(index)
