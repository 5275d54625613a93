"""Which snapshots are kept, and which were found whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgspec

_TESTED = ".tested.json"
"""File beside the snapshots that says what the last look at each found."""


class Keep(NamedTuple):
    """How many daily snapshots are kept."""

    daily: int
    weekly: int
    """Beyond those, the last one of each week."""


DAILY = Keep(7, 4)


class _Tested(msgspec.Struct):
    """What a look at a snapshot found, and how to tell that it is the same file still."""

    size: int
    mtime_ns: int
    faults: list[str]


def over(older: Sequence[Path], keep: Keep) -> list[Path]:
    """Return those of the daily snapshots, newest first, that go, when another was just written beside them."""
    recent, rest = older[: keep.daily - 1], older[keep.daily - 1 :]
    weeks: set[tuple[int, int]] = set()
    gone: list[Path] = []
    for path in rest:
        week = _week(path.name)
        if week is None or week in weeks or len(weeks) >= keep.weekly or week in {_week(each.name) for each in recent}:
            gone.append(path)
        else:
            weeks.add(week)
    return gone


def _week(name: str) -> tuple[int, int] | None:
    try:
        return date.fromisoformat(name[:10]).isocalendar()[:2]
    except ValueError:
        return None


def noted(path: Path) -> list[str] | None:
    """Return what was wrong with a snapshot at the last look; None if it was not looked at, or has changed since."""
    found = _read(path.parent).get(path.name)
    stat = path.stat()
    return (
        found.faults if found is not None and (found.size, found.mtime_ns) == (stat.st_size, stat.st_mtime_ns) else None
    )


def note(path: Path, faults: Sequence[str]) -> None:
    """Keep what a look at a snapshot found, and forget those that are gone; where it cannot be written, it is not."""
    folder = path.parent
    known = {name: tested for name, tested in _read(folder).items() if (folder / name).exists()}
    stat = path.stat()
    known[path.name] = _Tested(stat.st_size, stat.st_mtime_ns, list(faults))
    part = folder / f"{_TESTED}.{os.getpid()}"
    with contextlib.suppress(OSError):
        part.write_bytes(msgspec.json.encode(known))
        part.replace(folder / _TESTED)


def _read(folder: Path) -> dict[str, _Tested]:
    try:
        return msgspec.json.decode((folder / _TESTED).read_bytes(), type=dict[str, _Tested])
    except (OSError, msgspec.MsgspecError):
        return {}  # each is looked at once more
