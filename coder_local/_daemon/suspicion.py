"""Which plugin ends the daemon, found from how the last starts ended. Pure: what is known, and what follows from it.

A start is watched from before the first third party's plugin is imported until some seconds after the last one began.
One that was cut off in this time failed. After two that failed, the plugin that was at work in both is left out; where
nobody knows which one was, half of the suspects are left out in each start until one is left. What is found that way
may be innocent: a person may have killed the daemon. So it is tried again after two clean starts; it is set aside for
good by a start that fails and points at it, when that is the third one with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

ENOUGH = 2
"""Failed starts after which a plugin is looked for, and clean ones after which what is held against one is void."""
PROOF = 3
"""Failed starts of one plugin after which it is set aside for good."""
_KEPT = 10


class Start(msgspec.Struct):
    """A start that is watched, or was, and failed."""

    loading: list[str]
    """Third parties' plugins that were to be loaded in it."""
    at_work: str = ""
    """The one whose code ran, if one's did."""
    doing: str = ""
    """What it was at: `importing`, `starting`."""


class Held(msgspec.Struct):
    """A plugin that is left out for now."""

    failed: int
    """Starts that failed with it."""
    reason: str
    clean: int = 0
    """Starts without it that came to their end."""


class Record(msgspec.Struct):
    """What is known of the last starts; kept in a file by `Starts`."""

    open: Start | None = None
    failed: list[Start] = []
    """Those that failed since the last `ENOUGH` clean ones, the newest last."""
    clean: int = 0
    """Clean starts since the last that failed."""
    suspects: list[str] = []
    """While one of them is looked for, and nobody knows which."""
    held: dict[str, Held] = {}
    guilty: dict[str, str] = {}
    """Those that are to be set aside for good, each with the reason."""


def begin(record: Record, names: Sequence[str]) -> dict[str, str]:
    """Begin a start with those plugins; return which are to be left out of it, each with the reason."""
    last, record.open = record.open, None
    if last is not None:
        _judge_failed(record, last)
    record.held = {name: held for name, held in record.held.items() if name in names}
    record.suspects = [name for name in record.suspects if name in names]
    out = {name: why for name, why in record.guilty.items() if name in names}
    trial = next((name for name, held in record.held.items() if held.clean >= ENOUGH), None)
    out |= {name: held.reason for name, held in record.held.items() if name != trial}
    tried = record.suspects[: max(len(record.suspects) // 2, 1)]
    why = f"the last starts failed, and nobody knows at which of {len(record.suspects)} plugins; others are tried first"
    out |= {name: why for name in record.suspects if name not in tried}
    record.open = Start([name for name in names if name not in out])
    return out


def clean(record: Record) -> None:
    """Note that the start came to its end."""
    done, record.open = record.open, None
    if done is None:
        return
    record.clean += 1
    for name, held in list(record.held.items()):
        if name in done.loading:  # it was tried, and nothing happened
            del record.held[name]
        else:
            held.clean += 1
    if record.suspects:
        record.suspects = [name for name in record.suspects if name not in done.loading]
        if len(record.suspects) == 1:  # what remains is no proof
            _find(record, record.suspects[0], PROOF - 1)
    elif record.clean >= ENOUGH:
        record.failed = []


def leave(record: Record) -> None:
    """Note that the daemon was asked to stop while the start was watched: that says nothing of anybody."""
    record.open = None


def acquit(record: Record, name: str) -> None:
    """Forget what is held against a plugin: the person decided on it."""
    record.held.pop(name, None)
    record.guilty.pop(name, None)
    record.suspects = [each for each in record.suspects if each != name]
    if len(record.suspects) == 1:
        _find(record, record.suspects[0], PROOF - 1)


def _judge_failed(record: Record, last: Start) -> None:
    record.clean = 0
    record.failed = [*record.failed[1 - _KEPT :], last]
    for name in [name for name in record.held if name in last.loading]:  # it was on trial
        if last.at_work in {"", name}:
            _find(record, name, record.held[name].failed + 1)
            return
    if record.suspects:
        tried = [name for name in record.suspects if name in last.loading]
        if tried:
            _narrow(record, [last.at_work] if last.at_work in tried else tried)
    elif len(record.failed) >= ENOUGH:
        first, second = record.failed[-2:]
        if first.at_work and first.at_work == second.at_work:
            _find(record, first.at_work)
        else:
            _narrow(record, [name for name in second.loading if name in first.loading])


def _narrow(record: Record, suspects: Iterable[str]) -> None:
    record.suspects = list(suspects)
    if len(record.suspects) == 1:
        _find(record, record.suspects[0])


def _find(record: Record, name: str, failed: int = 0) -> None:
    """Hold a plugin responsible for the starts that failed with it, and end the search."""
    with_it = [start for start in record.failed if name in start.loading]
    failed = failed or len(with_it)
    doing = next((start.doing for start in reversed(with_it) if start.at_work == name), "")
    what = f"while it was {doing}" if doing else "soon after it was loaded, and not without it"
    reason = f"{failed} starts of the daemon ended {what}"
    record.suspects, record.failed = [], []
    record.held.pop(name, None)
    if failed >= PROOF:
        record.guilty[name] = reason
    else:
        record.held[name] = Held(failed, f"{reason}; it is tried again after {ENOUGH} starts without it")
