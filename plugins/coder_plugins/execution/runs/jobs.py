"""Removing runs that ended long ago, with all that is kept of them: some rows to a transaction, for others wait too.

A run is gone at once for whoever asks for it. What is left of a large one is noted as a `Removal`, so that the next
transaction, or the next start, goes on with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from coder_local.api import Instant, Record, Snapshot, Transaction, format_instant
from coder_plugins.execution.definitions.records import Definition
from coder_plugins.execution.records import ExecutionSettings

from .records import Artifact, Attempt, Removal, Run, Signal, Step, Wait

ROWS = 200
"""Rows that one transaction takes away at most."""
BUDGET = 0.05
"""Seconds after which a transaction takes no more: outputs may be large, and the writer must not be held."""
LOOKED_AT = 500
"""Runs, or definitions, that are looked for at once."""
_READ = 20
"""Rows that are read at once; each may have an output of a megabyte."""
_PARTS: tuple[type[Attempt | Step | Wait | Signal | Artifact], ...] = (Attempt, Step, Wait, Signal, Artifact)
_HASH = re.compile(r'"definition":"([0-9a-f]{64})"')


class Due(NamedTuple):
    """What is to be removed."""

    runs: list[str]
    """Ids, the one that ended first in front."""
    left: bool
    """Whether runs were removed in part only."""


class Removed(NamedTuple):
    """What one transaction came to."""

    runs: list[str]
    """Runs of which nothing is left."""
    contents: list[str]
    """Hashes of the artifacts that they had."""
    rows: int


def due(read: Snapshot, now_ms: int) -> Due:
    """Return finished runs that are over the age or the number that the settings keep, and that no other needs.

    A run is needed by one that has not ended: as what that was made from, stands below or has below it, or took
    results from.
    """
    settings = read.settings(ExecutionSettings)
    before = _before(read, settings, now_ms)
    found = read.rows(
        "WITH RECURSIVE open(id) AS (SELECT id FROM execution_runs WHERE status > ''"
        "  AND finished_at IS NULL AND deleted_at IS NULL),"
        " needed(id) AS (SELECT id FROM open UNION SELECT named.value FROM needed"
        "  JOIN execution_runs AS its ON its.id = needed.id, json_each(json_array(its.parent_run, its.forked_from))"
        "  AS named WHERE named.value IS NOT NULL)"
        " SELECT id FROM execution_runs WHERE finished_at > '' AND finished_at < :before AND deleted_at IS NULL"
        " AND id NOT IN needed AND (parent_run IS NULL OR parent_run NOT IN needed)"
        " AND id NOT IN (SELECT reused_from FROM execution_steps"
        "  WHERE run IN open AND reused_from IS NOT NULL AND deleted_at IS NULL)"
        " ORDER BY finished_at LIMIT :limit",
        before=before,
        limit=LOOKED_AT,
    )
    left = bool(read.rows("SELECT 1 FROM execution_removals LIMIT 1"))
    return Due([id_ for (id_,) in found], left)


def _before(read: Snapshot, settings: ExecutionSettings, now_ms: int) -> Instant:
    """Return the time before which a run must have ended to be removed; empty for one that none is before."""
    before = ""
    if settings.keep_runs_days:
        oldest_ms = max(0, now_ms - settings.keep_runs_days * 86_400_000)
        before = format_instant(datetime.fromtimestamp(oldest_ms / 1000, UTC))
    if settings.keep_runs:
        over = read.rows(
            "SELECT finished_at FROM execution_runs WHERE finished_at > '' AND deleted_at IS NULL"
            " ORDER BY finished_at DESC LIMIT 1 OFFSET :keep",
            keep=settings.keep_runs - 1,
        )
        before = max(before, over[0][0] if over else "")
    return before


def remove(tx: Transaction, ids: Sequence[str]) -> Removed:
    """Take away what is left of earlier runs, then of `ids`, until as many rows are gone as one transaction may take.

    Each is looked at again: another run may have been made from it since it was found.
    """
    taking = _Taking(tx, time.monotonic() + BUDGET)
    for removal in tx.select(Removal, limit=ROWS):
        if not taking.rest_of(removal.id):
            return taking.done()
        tx.delete(removal)
        taking.rows += 1
    needed = _needed(tx)
    for id_ in ids:
        run = tx.find(Run, id_)
        if run is None or run.finished_at is None or {run.id, run.parent_run} & needed:
            continue
        if taking.rows and taking.full:
            break
        tx.delete(run)
        taking.rows += 1
        if not taking.rest_of(id_):
            tx.insert(Removal(id=id_, workspace_id=run.workspace_id))
            break
    return taking.done()


def _needed(tx: Transaction) -> frozenset[str | None]:
    """Return the runs that have not ended, and those that they were made from, or stand below."""
    found = tx.rows(
        "SELECT id, parent_run, forked_from FROM execution_runs WHERE status > '' AND finished_at IS NULL"
        " AND deleted_at IS NULL"
    )
    return frozenset(id_ for row in found for id_ in row if id_ is not None)


class _Taking:
    """What one transaction has taken away so far."""

    def __init__(self, tx: Transaction, end: float) -> None:
        self._tx = tx
        self._end = end
        self._runs: list[str] = []
        self._contents: list[str] = []
        self.rows = 0

    @property
    def full(self) -> bool:
        """Whether it should take no more."""
        return self.rows >= ROWS or time.monotonic() > self._end

    def rest_of(self, run: str) -> bool:
        """Take away what belongs to a run; tell whether all of it is gone."""
        for part in _PARTS:
            while rows := self._some(part, run):
                for row in rows:
                    self._tx.delete(row)
                    if isinstance(row, Artifact):
                        self._contents.append(row.sha256)
                self.rows += len(rows)
                if self.full:
                    return False
        self._runs.append(run)
        return True

    def _some(self, part: type[Record], run: str) -> list[Record]:
        return self._tx.select(part, "run = :run", limit=min(_READ, max(1, ROWS - self.rows)), run=run)

    def done(self) -> Removed:
        return Removed(self._runs, self._contents, self.rows)


class Unused(NamedTuple):
    """Definitions that nothing uses any more."""

    ids: list[str]
    seen: Instant
    """When they were looked for."""


def unused(read: Snapshot) -> Unused:
    """Return definitions that no run is held to, and no step of another one names."""
    found = read.rows(
        "SELECT id FROM execution_definitions AS kept WHERE deleted_at IS NULL AND NOT EXISTS"
        " (SELECT 1 FROM execution_runs WHERE definition = kept.id AND deleted_at IS NULL) LIMIT :limit",
        limit=LOOKED_AT,
    )
    if not found:
        return Unused([], read.now())
    named = _named(read.rows('SELECT body FROM execution_definitions WHERE instr(body, \'"definition":"\')'))
    return Unused([id_ for (id_,) in found if id_ not in named], read.now())


def _named(bodies: Sequence[tuple[str]]) -> set[str]:
    return {hash_ for (body,) in bodies for hash_ in _HASH.findall(body)}


def drop(tx: Transaction, found: Unused) -> int:
    """Take definitions away, unless they came to be used since they were found; return how many."""
    named = _named(tx.rows("SELECT body FROM execution_definitions WHERE created_at >= :seen", seen=found.seen))
    gone = 0
    for id_ in found.ids:
        kept = tx.find(Definition, id_)
        if kept is None or id_ in named or tx.select(Run, "definition = :id", limit=1, id=id_):
            continue
        tx.delete(kept)
        gone += 1
    return gone
