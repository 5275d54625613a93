"""Figures: two sides measured in turn, their medians, and the ratio that is held against a goal."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Figure(NamedTuple):
    """One measured figure."""

    name: str
    unit: str
    ours: float
    floor: float | None
    """None where the goal is a plain number."""
    goal: float
    more_is_better: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        """The ratio of ours to the floor, or ours where there is none."""
        return self.ours if self.floor is None else self.ours / self.floor

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


def interleave(ours: Callable[[], T], floor: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """Measure both sides in turn, so that what else the machine does meets both; the first round warms up only."""
    ours()
    floor()
    measured = [(ours(), floor()) if number % 2 else (floor(), ours())[::-1] for number in range(rounds)]
    return [pair[0] for pair in measured], [pair[1] for pair in measured]


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | coder-local | floor | ratio | goal | |", "|---|---|---|---|---|---|"]
    for figure in figures:
        sign = "≥" if figure.more_is_better else "≤"
        floor = "" if figure.floor is None else f"{figure.floor:,.5g} {figure.unit}"
        ratio = "" if figure.floor is None else f"{figure.value:.2f}"
        verdict = "met" if figure.met else "**missed**"
        name = f"{figure.name} ({figure.note})" if figure.note else figure.name
        lines.append(
            f"| {name} | {figure.ours:,.5g} {figure.unit} | {floor} | {ratio} | {sign} {figure.goal:g} | {verdict} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Return the shape of the machine in one line, without its name."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def main(run: Callable[[], list[Figure]], floors: dict[str, Callable[[], None]]) -> None:
    """Run a bench script: its figures, or with `--floor NAME FOLDER` one of its floors."""
    if sys.argv[1:2] == ["--floor"]:
        floors[sys.argv[2]]()
    else:
        print(table(run()))
