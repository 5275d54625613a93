"""Dividing one task into parts: estimates whose sum stays exact, checklist items in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Estimate(msgspec.Struct, frozen=True):
    """A three-point estimate in whole minutes (or points), low <= likely <= high."""

    low: int
    likely: int
    high: int


class Part(msgspec.Struct, Generic[T], frozen=True):
    """What one part of a divided task holds."""

    items: list[T]
    estimate: Estimate | None


def shares(total: int, parts: int) -> list[int]:
    """Return `parts` whole numbers that add up to `total` and differ by at most 1, greater ones first.

    Raises ValueError for fewer than 1 part or a negative total.
    """
    if parts < 1:
        raise ValueError(f"a task divides into at least 1 part, not {parts}")
    if total < 0:
        raise ValueError(f"an estimate must be 0 or more, not {total}")
    even, rest = divmod(total, parts)
    return [even + (number < rest) for number in range(parts)]


def split(items: Sequence[T], estimate: Estimate | None, parts: int) -> list[Part[T]]:
    """Return the parts of a task: neighbouring items stay together, each figure of the estimate divides exactly.

    Every part keeps low <= likely <= high. Raises ValueError as `shares` does.
    """
    counts = shares(len(items), parts)
    estimates: list[Estimate | None] = [None] * parts
    if estimate is not None:
        figures = (shares(figure, parts) for figure in (estimate.low, estimate.likely, estimate.high))
        estimates = [Estimate(low, likely, high) for low, likely, high in zip(*figures, strict=True)]
    answer: list[Part[T]] = []
    at = 0
    for count, figure in zip(counts, estimates, strict=True):
        answer.append(Part(list(items[at : at + count]), figure))
        at += count
    return answer
