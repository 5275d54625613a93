"""A run as far as it is known here: kept up by what the daemon says, and drawn from."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from coder_local.cli.api import clean, rows_of

from . import times

TAIL = 12
"""Lines of output kept of each step, to be shown if it fails."""
ENDED = frozenset({"succeeded", "reused", "skipped", "failed", "cancelled"})
ENDED_RUN = frozenset({"succeeded", "failed", "cancelled", "timed_out"})


class StepState:
    """One step."""

    def __init__(self, key: str, kind: str = "", parent: str | None = None) -> None:
        self.key = key
        self.kind = kind
        self.parent = parent
        self.status = "pending"
        self.started: float | None = None
        self.ended: float | None = None
        self.attempts = 0
        self.reason = ""
        """Why it failed, was skipped, or what it waits for."""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._open: dict[str, str] = {}

    def seconds(self, now: float) -> float | None:
        """Return how long it takes, or took; None if it never began."""
        if self.started is None or self.status == "skipped":
            return None
        return (now if self.ended is None else self.ended) - self.started

    def output(self, text: str, stream: str) -> list[str]:
        """Take a piece of output, and return the lines that are whole with it."""
        *whole, rest = (self._open.pop(stream, "") + text).split("\n")
        if len(rest) > 4_000:  # a line without end is shown in pieces
            whole, rest = [*whole, rest], ""
        if rest:
            self._open[stream] = rest
        lines = [clean(line) for line in whole]
        self.tail.extend(lines)
        return lines

    def rest(self) -> list[str]:
        """Return what was said without an end of line, now that no more will come."""
        lines = [clean(line) for line in self._open.values()]
        self._open.clear()
        self.tail.extend(lines)
        return lines


class RunState:
    """One run; hold `lock` to read what another thread may be changing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.run: dict[str, Any] = {}
        self.status = "queued"
        self.steps: dict[str, StepState] = {}
        self.waits: list[dict[str, Any]] = []
        self.sub_runs: dict[str, RunState] = {}
        """By the key of the step that began each, those that were read."""
        self.read = False
        """Whether the steps were read whole once."""

    @property
    def name(self) -> str:
        """What the run is called."""
        return clean(str(self.run.get("name") or "run"))

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.status in ENDED_RUN

    def load(self, view: dict[str, Any]) -> None:
        """Take the answer of `runs.get`."""
        with self.lock:
            self.run, self.waits, self.read = view["run"], rows_of(view["waits"]), True
            self.status = str(self.run["status"])
            for row in rows_of(view["steps"]):
                self._load_step(row)

    def _load_step(self, row: dict[str, Any]) -> None:
        step = self.step(str(row["key"]))
        step.kind, step.parent = str(row["kind"]), row.get("parent")
        step.status, step.attempts = str(row["status"]), int(row.get("attempts") or 0)
        step.started, step.ended = times.seconds_of(row.get("started_at")), times.seconds_of(row.get("finished_at"))
        error: dict[str, Any] = row.get("error") or {}
        step.reason = clean(str(error.get("message") or row.get("reason") or ""))

    def step(self, key: str) -> StepState:
        """Return a step, which may be one of a fan-out that was not there before."""
        found = self.steps.get(key)
        if found is None:
            parent = key.partition("[")[0] if key.endswith("]") else None
            found = self.steps[key] = StepState(key, parent=parent if parent in self.steps else None)
        return found

    def hear(self, said: dict[str, Any]) -> list[str]:
        """Take an item of `runs.follow`; return the whole lines of output that it brings."""
        with self.lock:
            return self._hear(said)

    def _hear(self, said: dict[str, Any]) -> list[str]:
        kind, status = said["type"], str(said.get("status") or "")
        if kind == "run":
            self.status = status
            return []
        step = self.step(str(said.get("step")))
        if kind == "output":
            return step.output(str(said.get("text") or ""), str(said.get("stream")))
        moment = times.seconds_of(said.get("at"))
        if kind == "wait":
            step.status, step.reason = "waiting", status
            return []
        step.status = status
        if status == "running":
            step.started, step.ended, step.reason = step.started or moment, None, ""
            step.attempts = int(said.get("attempt") or step.attempts)
            return []
        step.ended, step.reason = moment, clean(str(said.get("text") or ""))
        return step.rest()

    def top(self) -> Iterator[tuple[StepState, list[StepState]]]:
        """Yield each step that was written, in order, with the steps that it became or that undo it."""
        below: dict[str, list[StepState]] = {}
        for step in self.steps.values():
            if step.parent is not None and step.parent in self.steps:
                below.setdefault(step.parent, []).append(step)
        for step in self.steps.values():
            if step.parent is None or step.parent not in self.steps:
                yield step, below.get(step.key, [])

    def counts(self) -> dict[str, int]:
        """Return how many steps have each status; fan-outs themselves are not counted, their steps are."""
        found: dict[str, int] = {}
        for step, below in self.top():
            for each in below or [step]:
                found[each.status] = found.get(each.status, 0) + 1
        return found


def summary(counts: dict[str, int]) -> str:
    """Return counts as `4 of 9 done, 1 failed, 2 running`."""
    total = sum(counts.values())
    done = sum(counts.get(word, 0) for word in ("succeeded", "reused"))
    others = ("failed", "cancelled", "skipped", "running", "waiting", "needs_decision")
    parts = [f"{done} of {total} done", *(f"{counts[word]} {word}" for word in others if counts.get(word))]
    return ", ".join(parts).replace("needs_decision", "undecided")
