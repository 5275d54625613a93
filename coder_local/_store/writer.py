"""The one writer: a thread that runs commands in savepoints and commits them together.

All that wait when it is free share one transaction and one fsync; a caller is answered only after that commit. A
command that fails rolls back its own savepoint. At 64 clients this is six to eight times the throughput of a commit
for each.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from .caller import Caller, Calls
from .clock import Clock, IdMaker
from .eventlog import EventRow
from .faults import translate
from .journal import Journal
from .scope import WriteScope, unread_expectation
from .strike import Strike
from .tables import Tables

_log = logging.getLogger("coder_local.store")
GROUP_LIMIT = 256
"""Commands that one commit may serve."""
WAL_PAGES = 4000
"""Above this the write-ahead log is checkpointed and begun anew; it is 4 KiB a page."""
_PROGRESS_STEPS = 50_000

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]


class Job:
    """One command that waits for the writer."""

    __slots__ = ("alone", "caller", "deadline", "done", "error", "expected", "result", "started", "work")

    def __init__(
        self,
        work: Callable[[WriteScope], Any],
        caller: Caller,
        done: Done,
        *,
        expected: tuple[str, int] | None = None,
        deadline: float = 10.0,
        alone: bool = False,
    ) -> None:
        self.work = work
        self.caller = caller
        self.done = done
        self.expected = expected
        self.deadline = deadline
        self.alone = alone
        """Run between two commits, outside of any transaction: for migrations, which begin their own."""
        self.started = 0.0
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owns the connection that writes. `deliver(jobs, events)` is called after each commit, on the writer's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        tables: Tables,
        calls: Calls,
        clock: Clock,
        deliver: Callable[[Sequence[Job], Sequence[EventRow]], None],
        *,
        wal: Path | None = None,
    ) -> None:
        self.connection = connection
        self.ids = IdMaker(clock)
        self._tables = tables
        self._calls = calls
        self._clock = clock
        self._deliver = deliver
        self._wal = wal
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._strike: Strike[Job] = Strike()
        self._journal = Journal(connection)
        self.refusal: Exception | None = None
        """Answer to all that would be written from now on, if nothing may be."""
        self.watch_deadlines()

    def watch_deadlines(self) -> None:
        """Have SQLite stop a command over its deadline; again after the connection was used for something else."""
        self.connection.set_progress_handler(self._over_deadline, _PROGRESS_STEPS)

    @property
    def current(self) -> Job | None:
        """The command that runs now, and since when (`started`, monotonic); for the watchdog."""
        return self._strike.current

    @property
    def running(self) -> bool:
        """Whether it has a thread of its own."""
        return self._thread is not None

    @property
    def waiting(self) -> int:
        """How many commands wait."""
        return self._queue.qsize()

    def start(self) -> None:
        """Run on a thread of its own from now on."""
        # A daemon thread: a plugin's endless command must not keep the process from exiting after stop() gave up.
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take a command. Without a thread it runs and commits at once."""
        if self._thread is not None:
            self._queue.put(job)
        elif job.alone:
            self._run_alone(job)
        else:
            self._commit_group([job])

    @contextmanager
    def transaction(self, caller: Caller) -> Generator[WriteScope]:
        """Open one transaction for the caller's own block, committed at its end; only without a thread, for tests."""
        journal = self._journal
        scope = self._scope(caller)
        before = journal.begin()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield scope
            journal.add(scope)
            journal.write()
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.execute("ROLLBACK")
            journal.go_back(before)
            raise
        self._deliver((), journal.said)

    def stop(self, timeout: float = 10.0) -> bool:
        """Run what waits, checkpoint and close; False if a command did not come to an end in time."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
            self._thread = None
        if self._wal is not None:
            try:
                self.connection.execute("PRAGMA busy_timeout = 500")  # a read that hangs is not waited for
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                _log.warning("the write-ahead log is left for the next start: %s", error)
        self.connection.close()
        return True

    def _run(self) -> None:
        held: Job | None = None
        while True:
            first, held = held or self._queue.get(), None
            if first is None:
                return
            if first.alone:
                self._surely(self._run_alone, first)
                continue
            jobs = [first]
            for _ in range(min(self._queue.qsize(), GROUP_LIMIT - 1)):
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                if following.alone:
                    held = following
                    break
                jobs.append(following)
            self._surely(self._commit_group, jobs)
            self._checkpoint()

    def _surely(self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except BaseException:  # noqa: BLE001 - who comes next must still be served
            _log.critical("the writer failed; it goes on with what comes next", exc_info=True)

    def _run_alone(self, job: Job) -> None:
        job.started = time.monotonic()
        self._strike.current = job
        scope = self._scope(job.caller)
        try:
            job.result = job.work(scope)
        except BaseException as error:  # noqa: BLE001 - whoever waits must get an answer
            self._roll_back()
            job.error = translate(error)
        finally:
            self._strike.current = None
        self._deliver([job], [])

    def _commit_group(self, jobs: Sequence[Job]) -> None:
        """Run and commit together; if the whole group fails, each command for itself, so that each has its answer."""
        if self.refusal is not None:
            for job in jobs:
                job.error = self.refusal
            self._deliver(jobs, ())
            return
        journal = self._journal
        before = journal.begin()
        try:
            if self.connection.in_transaction:  # the last one could not be rolled back
                self.connection.execute("ROLLBACK")
            self.connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run_job(job)
            journal.write()
            self.connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - every waiting caller must get an answer
            self._roll_back()
            journal.go_back(before)
            if len(jobs) > 1:
                for job in jobs:
                    self._commit_group([job])
                return
            jobs[0].result, jobs[0].error = None, translate(error)
        self._deliver(jobs, journal.said)

    def _roll_back(self) -> None:
        """Roll back what is open; if even that fails the next transaction tries again, for the thread must go on."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.exception("a transaction could not be rolled back")

    def _scope(self, caller: Caller) -> WriteScope:
        return WriteScope(self.connection, self._tables, self._calls, caller, self._clock, self.ids, self._journal)

    def _run_job(self, job: Job) -> None:
        """Run one command in a savepoint. Raises only if the whole transaction is gone."""
        execute = self.connection.execute
        scope = self._scope(job.caller)
        scope.expected = job.expected
        before = self._journal.place()
        job.error = None
        job.started = time.monotonic()
        execute("SAVEPOINT job")
        try:
            try:
                self._strike.current = job  # from here on a strike may land, and must be caught
                job.result = job.work(scope)
            finally:
                self._strike.leave()
            if scope.expected is not None:
                raise unread_expectation()
            self._journal.add(scope)
        except BaseException as error:
            self._strike.leave_surely()
            if not self.connection.in_transaction:  # a full disk or an interrupt took the whole transaction with it
                raise
            execute("ROLLBACK TO job")
            self._journal.go_back(before)
            job.result, job.error = None, translate(error)
        execute("RELEASE job")

    def stop_overdue(self) -> None:
        """Stop the command that runs over its deadline, wherever its Python code is; called from another thread.

        SQLite stops by itself at `_over_deadline`; a loop in Python has `OverDeadline` raised in it, once. One call of
        a C function, such as a sleep, comes to its end first.
        """
        with self._strike.lock:
            job, thread = self._strike.current, self._thread
            if job is None or job.alone or thread is None or time.monotonic() - job.started <= job.deadline:
                return
            self._strike.land(thread.ident)

    def _over_deadline(self) -> int:
        job = self._strike.current
        return int(job is not None and time.monotonic() - job.started > job.deadline)

    def _checkpoint(self) -> None:
        """Begin the write-ahead log anew when it has grown: passive checkpoints alone let it reach gigabytes.

        It is cut off as well: if it kept its length, it would be taken for grown after every commit from then on.
        """
        if self._wal is None:
            return
        try:
            if self._wal.stat().st_size > WAL_PAGES * 4096:
                self.connection.execute("PRAGMA busy_timeout = 50")  # a long read must not hold all who write
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.connection.execute("PRAGMA busy_timeout = 5000")
        except (OSError, sqlite3.Error):
            return  # a reader was in the way, or the disk is full: the next group tries again
