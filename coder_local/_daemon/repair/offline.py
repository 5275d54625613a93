"""Mending a data directory that no daemon runs on; its lock is held all the while, so that none starts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from coder_local._daemon.lock import Lock
from coder_local._store import audit, backup
from coder_local._store.clock import SystemClock
from coder_local._store.connection import open_writer
from coder_local._store.exchange import complete
from coder_local.api import Locked, Safety

from . import files
from .finding import HINT, OPERATION, SALVAGE, Check, Finding, Problem, Repair, mend, run

DATABASE = "coder-local.db"
_DETAIL = 500


def examine(folder: Path) -> list[Problem]:
    """Return what can be looked at without a daemon; needs the lock."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("daemon", lambda: files.abandoned(folder)),
        ("permissions", lambda: files.permissions(folder)),
        ("mount", lambda: files.disk(folder)),
        ("leftovers", lambda: files.leftovers(folder)),
        ("snapshots", lambda: files.snapshots(folder)),
        ("database", lambda: _database(folder / DATABASE)),
    ]
    found = [each for name, check in checks for each in run(name, check)]
    if not _damaged(
        found
    ):  # the log of a damaged one is for a salvage: written into it, no more than SQLite likes stays
        found += run("log", lambda: files.log_left(folder))
    return found


def _damaged(found: Sequence[Problem]) -> bool:
    return any(each.finding.check == "database" and each.finding.state == "error" for each in found)


def _database(path: Path) -> Check:
    if not path.exists():
        yield Finding(check="database", state="ok", message="none yet")
    elif faults := backup.check(path):
        yield Finding(check="database", state="error", message="; ".join(faults[:3]), hint=HINT, fix=SALVAGE)
    else:
        yield Finding(check="database", state="ok", message=f"{path.stat().st_size / 1024**2:.1f} MiB, whole")


class Held:
    """A data directory without a daemon, in a `with` statement. Raises `Locked` if a daemon holds it, or `OSError`.

    What a repair that was killed had begun to put in the database's place is put there first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock(folder)

    def __enter__(self) -> Held:
        if not self._lock.take():
            raise Locked("a process holds the lock and does not answer", hint="it may be starting; try again")
        try:
            self._complete()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _complete(self) -> None:
        aside = complete(self.folder / DATABASE)
        if aside is not None:
            message = "the database was being replaced when a kill came"
            self.note([Repair(check="database", message=message, done=True, said=f"the old one is in {aside}")])

    def look(self) -> list[Problem]:
        """Return what is to be seen."""
        return examine(self.folder)

    def repair(self, checks: Sequence[str]) -> list[Repair]:
        """Mend what some checks find, but for a damaged database, with a line of audit for each cure.

        A damaged database gets no lines: where its list of free pages is wrong, they would overwrite whole rows.
        """
        found = self.look()
        damaged = _damaged(found)
        done: list[Repair] = []
        for each in found:
            if each.mend is not None and each.finding.check in checks:
                done.append(mend(each))
                if not damaged:
                    self.note(done[-1:])  # one by one: a kill takes the line of one cure, not of all before it
        return done

    def note(self, done: Sequence[Repair]) -> None:
        """Add lines of audit, if there is a database that takes them."""
        path = self.folder / DATABASE
        if not done or not path.exists():
            return
        now = SystemClock().now_ms()
        try:
            writer = open_writer(path)
            try:
                writer.execute("BEGIN IMMEDIATE")
                for each in done:
                    audit.add_line(writer, now, entry("person", "", each))
                writer.execute("COMMIT")
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                writer.close()
        except sqlite3.Error:
            return  # a damaged database, or one of an older version: there is nowhere to note it


def entry(actor: str, workspace: str, done: Repair) -> audit.Entry:
    """Return the line of audit of one cure."""
    return audit.Entry(
        actor=actor, token=None, workspace=workspace, operation=OPERATION, safety=str(Safety.DESTRUCTIVE),
        outcome=audit.OK if done.done else "broken", request_id="", input_hash="",
        detail=f"{done.check}: {done.message}; {done.said}"[:_DETAIL],
    )  # fmt: skip
