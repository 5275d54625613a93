"""A run as lines: a step each, fan-outs folded to what is worth a look."""

from __future__ import annotations

from typing import NamedTuple

from . import times
from .state import ENDED, RunState, StepState, summary

UNFOLDED = 6
"""Steps of a fan-out that are shown one by one; of a larger one only those that run, wait or failed."""
OPEN = ("failed", "needs_decision", "waiting", "running", "cancelled")
SIGNS = {
    "pending": "·", "ready": "·", "running": "▶", "waiting": "…", "needs_decision": "?",
    "succeeded": "✓", "reused": "=", "skipped": "-", "failed": "✗", "cancelled": "✗",
}  # fmt: skip
PLAIN_SIGNS = {
    "pending": " ", "ready": " ", "running": ">", "waiting": "~", "needs_decision": "?",
    "succeeded": "+", "reused": "=", "skipped": "-", "failed": "x", "cancelled": "x",
}  # fmt: skip
"""For a console whose encoding lacks the others."""


class Line(NamedTuple):
    """One step, or a fan-out, as it is drawn."""

    depth: int
    key: str
    status: str
    time: str
    more: str
    """The reason, the last line of output, or the counts of a fan-out."""


def lines(state: RunState, now: float, *, outputs: bool = True) -> list[Line]:
    """Return the lines of a run; `outputs` adds the last line of output of what runs."""
    found: list[Line] = []
    with state.lock:
        for step, below in state.top():
            if not below:
                found.append(_line(step, 0, now, outputs=outputs))
                found += _sub_run(state, step.key, 1, now, outputs=outputs)
                continue
            found.append(_fan_out(step, below, now))
            for each in below if len(below) <= UNFOLDED else _worth(below):
                found.append(_line(each, 1, now, outputs=outputs))
                found += _sub_run(state, each.key, 2, now, outputs=outputs)
    return found


def _sub_run(state: RunState, key: str, depth: int, now: float, *, outputs: bool) -> list[Line]:
    """Return the lines of the run that a step began, if it was read."""
    sub = state.sub_runs.get(key)
    its = [] if sub is None else lines(sub, now, outputs=outputs)
    return [line._replace(depth=line.depth + depth) for line in its]


def _fan_out(step: StepState, below: list[StepState], now: float) -> Line:
    counts: dict[str, int] = {}
    for each in below:
        counts[each.status] = counts.get(each.status, 0) + 1
    more = "; ".join(part for part in (summary(counts), step.reason) if part)
    return Line(0, step.key, step.status, times.length(step.seconds(now)), more)


def _worth(below: list[StepState]) -> list[StepState]:
    ranked = [each for word in OPEN for each in below if each.status == word]
    return ranked[:UNFOLDED]


def _line(step: StepState, depth: int, now: float, *, outputs: bool) -> Line:
    more = step.reason
    if step.attempts > 1:
        more = f"attempt {step.attempts}{'; ' if more else ''}{more}"
    if outputs and step.status == "running" and step.tail:
        more = f"{more}{'  ' if more else ''}{step.tail[-1]}"
    return Line(depth, step.key, step.status, times.length(step.seconds(now)), more)


def fitted(found: list[Line], room: int) -> list[Line]:
    """Return at most `room` lines: first those that ended well are left out, then those that have not begun."""
    if len(found) <= room:
        return found
    for unread in (frozenset({"succeeded", "reused", "skipped"}), frozenset({"pending", "ready"}), ENDED):
        spare = len(found) - room + 1
        dropped = [line for line in found if line.status in unread][:spare]
        gone = set(map(id, dropped))
        found = [line for line in found if id(line) not in gone]
        if len(found) < room:
            break
    return found[: max(room - 1, 1)]


def text(found: list[Line], width: int, signs: dict[str, str] = SIGNS) -> list[str]:
    """Return lines as text of at most `width` columns."""
    left = min(max((len(line.key) + 2 * line.depth for line in found), default=0), max(width // 2, 12))
    return [_text(line, left, width, signs) for line in found]


def _text(line: Line, left: int, width: int, signs: dict[str, str]) -> str:
    key = f"{'  ' * line.depth}{line.key}"
    key = key if len(key) <= left else f"{key[: left - 1]}~"
    status = line.status.replace("needs_decision", "undecided")
    start = f"{signs.get(line.status, ' ')} {key:<{left}}  {status:<9}  {line.time:>9}  "
    whole = f"{start}{line.more}".rstrip()
    return whole if len(whole) <= width else f"{whole[: width - 1]}~"
