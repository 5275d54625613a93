"""Runs that the state machine failed at: they are set aside, so that all others go on, and tried again later."""

from __future__ import annotations

from coder_local.api import Transaction
from coder_plugins.execution.runs.records import Run, RunChanged

from .live import drop

_REASON_LIMIT = 2_000


def set_aside(tx: Transaction, run: str, message: str) -> None:
    """Block a run that the state machine fails at: nothing moves it until it is resumed. Only its row is written."""
    found = tx.find(Run, run)
    if found is None or found.finished_at is not None:
        return
    reason = f"the engine failed at this run, and left it as it was: {message}"[:_REASON_LIMIT]
    drop(run)
    tx.update(found, faulted=True, status="blocked", reason=reason, moves=found.moves + 1)
    tx.emit(RunChanged(run=run, status="blocked"))


def forgive(tx: Transaction) -> None:
    """Have the runs that were set aside tried again with what else is blocked: the daemon, or a plugin, is another."""
    for run in tx.select(Run, "status = 'blocked' AND finished_at IS NULL AND faulted"):
        drop(run.id)
        tx.update(run, faulted=False, moves=run.moves + 1)
