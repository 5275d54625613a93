"""Faults of the state machine itself: at which run it failed, so that all others can go on without that one."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import LiteralString

from coder_local.api import Broken, Error, Locked, TimedOut

_OF_THE_STORE = (Locked, TimedOut, Broken, sqlite3.Error)
"""What any run would have met: the disk, the database, the time that a transaction has."""


ASIDE: LiteralString = (
    "(SELECT id FROM execution_runs WHERE status = 'blocked' AND faulted AND finished_at IS NULL"
    " AND deleted_at IS NULL)"
)
"""The ids of the runs that the machine failed at, as a part of a statement."""


class RunFault(Exception):
    """The state machine failed at one run. Its transaction is rolled back, and the next can go on without that run."""

    def __init__(self, run: str, error: Exception, *, saving: bool) -> None:
        super().__init__(f"run {run}: {tell(error)}")
        self.run = run
        self.error = error
        self.saving = saving
        """Whether its rows could not be written: what was to be written may be at fault, and not the run."""


class blame:  # noqa: N801 - it stands where a function would, and a generator takes three times as long
    """Have what fails in the block known as the fault of a run: raise `RunFault`, but for an error of the store."""

    __slots__ = ("_run", "_saving")

    def __init__(self, run: str, *, saving: bool = False) -> None:
        self._run = run
        self._saving = saving

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, (RunFault, *_OF_THE_STORE)):
            raise RunFault(self._run, error, saving=self._saving) from error


def tell(error: Exception) -> str:
    """Return an error in a line."""
    return error.message if isinstance(error, Error) else f"{type(error).__name__}: {error}"
