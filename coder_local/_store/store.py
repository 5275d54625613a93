"""The store: one SQLite database with one writer, and readers that never wait for it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

from coder_local.api import Error, Locked

from . import audit, backup, consumers, eventlog, keeping, tombstones
from .airlock import Airlock, stopped
from .caller import Caller, Calls
from .clock import Clock, SystemClock, instant
from .connection import MEMORY, open_reader, open_writer
from .eventlog import Bounds, EventRow, Published
from .exchange import complete
from .faults import is_damage, translate
from .folders import Folders
from .keeping import Keep
from .lane import Lane, Token
from .migrations import MigrationSet
from .scope import ReadScope, WriteScope
from .tables import Table, Tables
from .writer import Done, Job, Writer

_log = logging.getLogger("coder_local.store")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Loop = Callable[..., object]
"""`loop.call_soon_threadsafe`, or in a store without a loop a plain call."""


def _at_once(function: Callable[..., object], *arguments: Any) -> object:
    return function(*arguments)


_DAY = 24 * 3600.0
_TRACES = ("snapshots", "quarantine", "replaced")
"""Folders beside a database that has been in use."""


def _written(path: Path) -> tuple[int, ...]:
    """Return the last numbers given to changes and events of a database, which tell whether anything was written."""
    connection = open_reader(path)
    try:
        last = dict(connection.execute("SELECT name, seq FROM sqlite_sequence WHERE name IN ('event', 'change')"))
    except sqlite3.Error:
        return ()  # a snapshot that cannot be read is none: another one is due
    finally:
        connection.close()
    return last.get("event", 0), last.get("change", 0)


def _purged(_: object, error: BaseException | None) -> None:
    if error is not None:
        _log.warning("what is kept no longer could not be taken away: %s", error)


class Store:
    """Everything that is kept. Make one with `Store(folder, ...)`, then `open`, then `start`, and `close` at the end.

    Without a folder it lives in memory and runs commands at once on the calling thread: the store of tests.
    """

    def __init__(self, folder: Path | None, tables: Tables, calls: Calls, clock: Clock | None = None) -> None:
        self.folder = folder
        self.path = MEMORY if folder is None else folder / "coder-local.db"
        self.folders = Folders(folder)
        self.tables = tables
        self.clock: Clock = clock or SystemClock()
        self.airlock = Airlock(self.path, folder, self.clock)
        self.core_waits = False
        """Whether `migrate_core` is to be called, before anything is written."""
        self.epoch = ""
        self.set_aside: Path | None = None
        """Where a damaged database was put at this start."""
        self.loss: str | None = None
        """What this start found instead of the database that had been in use."""
        self.damage: str | None = None
        self._calls = calls
        self._post: Loop = _at_once
        self._soon: Loop | None = None
        self._reading = 0
        self._reader_use = threading.RLock()
        """Held by who uses the loop's reader: to close it from another thread meanwhile crashes the process."""
        self._connections: list[sqlite3.Connection] = []
        self._on_events: Callable[[Sequence[EventRow]], None] = lambda _: None

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self, *, later: bool = False) -> None:
        """Open the file, set it aside if it is damaged, and bring the core's own tables up to date.

        With `later`, where that may take long, it is left to `migrate_core`; until then the file may be read as it is.
        Raises `NewerData` or `MigrationError`; the data is as it was then.
        """
        if self.folder is not None:
            self._complete_exchange()
            self._look_for_loss()
            self._look_for_damage()
        try:
            self._open(later=later)
        except (sqlite3.Error, Error) as error:
            if not self.recover(error):
                raise translate(error) from error

    def recover(self, error: BaseException) -> bool:
        """Set the file aside and open anew, if the error of a start says that it is damaged; once in a start."""
        if self.folder is None or self.set_aside is not None or not is_damage(error.__cause__ or error):
            return False
        for connection in self._connections:
            connection.close()
        self._put_aside()
        self.damage = None
        self._damage_mark.unlink(missing_ok=True)
        self._open()
        return True

    def _open(self, *, later: bool = False) -> None:
        self._connections = []
        connection = open_writer(self.path)
        self._connections.append(connection)
        try:
            self.core_waits = self.airlock.core_waits(connection)
            if self.core_waits and not later:
                self.airlock.migrate_core(connection)
                self.core_waits = False
            self.epoch = self._epoch(connection)
            wal = None if self.folder is None else self.path.with_name(self.path.name + "-wal")
            self.writer = Writer(connection, self.tables, self._calls, self.clock, self._deliver, wal=wal)
            self._reader = connection if self.folder is None else open_reader(self.path)
            self._connections.append(self._reader)
            self.bounds()  # a log that cannot be read must be found now, while another file can take its place
        except BaseException:
            for each in self._connections:
                each.close()
            raise
        self._lane: Lane | None = None

    def start(self, post: Loop, on_events: Callable[[Sequence[EventRow]], None], soon: Loop | None = None) -> None:
        """Begin to write on a thread; answers and events are posted to the event loop with `post`.

        With `soon`, the loop's `call_soon`, the bounded reads of one turn of the loop share a snapshot: to begin and
        end one takes a third of a look-up by key.
        """
        self._post, self._on_events = post, on_events
        self._soon = soon if self.folder is not None else None  # in memory the writer reads
        self.writer.start()

    def tell(self, on_events: Callable[[Sequence[EventRow]], None]) -> None:
        """Call a function with what each commit said, in a store that has no loop."""
        self._on_events = on_events

    def close(self, *, reader_timeout: float = 5.0) -> bool:
        """Run the commands that wait, end the reads, checkpoint, close. False if a command hung and was left behind."""
        self._soon = None  # no snapshot is begun or ended on a reader that is being closed
        self.folders.close()
        if self._lane is not None and not self._lane.stop(reader_timeout):
            _log.error("a query did not come to its end, and is left behind")
        with self._reader_use:
            if self._reader is not self.writer.connection:
                self._reader.close()
        return self.writer.stop()

    @property
    def reading(self) -> int:
        """How many reads apart have not been answered."""
        return self._reading

    def cancel_reads(self) -> None:
        """Interrupt the reads apart, and take no more; each is answered that the daemon stops."""
        if self._lane is not None:
            self._lane.cancel()

    def _epoch(self, connection: sqlite3.Connection) -> str:
        row = connection.execute("SELECT value FROM store_meta WHERE name = 'epoch'").fetchone()
        if row is None:
            row = (backup.new_epoch(),)
            connection.execute("INSERT INTO store_meta (name, value) VALUES ('epoch', ?)", row)
        return str(row[0])

    # -- damage -------------------------------------------------------------------------------------------------------

    @property
    def _damage_mark(self) -> Path:
        assert self.folder is not None  # noqa: S101 - for the type checker
        return self.folder / "damaged"

    def note_damage(self, error: BaseException) -> None:
        """Remember that the file is damaged; the next start looks at it whole."""
        if self.damage is None and self.folder is not None:
            self.damage = str(error)
            try:
                self._damage_mark.write_text(self.damage, encoding="utf-8")
            except OSError:
                return  # a read-only or full disk: the next start finds the damage when it reads there

    def _complete_exchange(self) -> None:
        """Do what a salvage, a restore or a start that was killed had begun, before the database counts as lost."""
        aside = complete(self.path)
        if aside is None:
            return
        _log.warning("the database was being replaced when a kill came; that is done now, the old one is in %s", aside)
        if not self.path.exists():
            self.set_aside = aside

    def _look_for_loss(self) -> None:
        """Notice that the database in use before is gone, so that nobody takes the empty one for his data."""
        assert self.folder is not None  # noqa: S101 - for the type checker
        if self.path.exists():
            if self.path.stat().st_size == 0:
                self._put_aside()  # with its log, which SQLite would delete
                self.loss = "the database file was empty (0 bytes), and this start began with a new one"
        elif self.set_aside is None and any(
            path.is_dir() and any(path.iterdir()) for path in map(self.folder.joinpath, _TRACES)
        ):
            self.loss = "the database file was missing, and this start began with a new one"

    def _look_for_damage(self) -> None:
        if self._damage_mark.exists():
            if self.path.exists() and backup.check(self.path):
                self._put_aside()
            self._damage_mark.unlink(missing_ok=True)

    def _put_aside(self) -> None:
        assert self.folder is not None  # noqa: S101 - for the type checker
        name = instant(self.clock.now_ms()).replace(":", "")
        self.set_aside = backup.set_aside(self.path, self.folder / "quarantine", name)

    # -- migrations ---------------------------------------------------------------------------------------------------

    def migrate_core(self) -> None:
        """Bring the core's own tables up to date, on the writer's thread; if it fails, nothing is ever written.

        Raises `MigrationError`, or `Locked` if it was stopped.
        """
        try:
            self.airlock.migrate_core(self.writer.connection)
        except BaseException as error:
            self._note(error.__cause__ or error)
            self.writer.refusal = stopped()  # what waits behind it does not know the tables
            raise
        self.writer.watch_deadlines()
        self.core_waits = False

    def migrate(self, sets: Sequence[MigrationSet]) -> dict[str, Error]:
        """Bring every plugin's tables up to date and return, by plugin, why it could not be; see `Airlock.migrate`."""
        try:
            failed = self.airlock.migrate(self.writer.connection, sets)
        finally:
            self.writer.watch_deadlines()
        for error in failed.values():
            self._note(error.__cause__ or error)
        return failed

    # -- writing ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        work: Callable[[WriteScope], Any],
        caller: Caller,
        done: Done,
        *,
        expected: tuple[str, int] | None = None,
        deadline: float = 10.0,
    ) -> None:
        """Run a function as one durable transaction; `done(result, error)` is called after the commit, on the loop."""
        self.writer.submit(Job(work, caller, done, expected=expected, deadline=deadline))

    def alone(self, work: Callable[[], Any], caller: Caller, done: Done) -> None:
        """Run a function between two commits, while nothing else writes: for `migrate` once the daemon runs."""
        self.writer.submit(Job(lambda _: work(), caller, done, deadline=float("inf"), alone=True))

    def write(self, work: Callable[[WriteScope], T], caller: Caller | None = None) -> T:
        """Run a function as one transaction on this thread; only before `start`, or in memory."""
        answers: list[tuple[Any, BaseException | None]] = []
        self.submit(work, caller or Caller(), lambda result, error: answers.append((result, error)))
        result, error = answers[0]
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _deliver(self, jobs: Sequence[Job], events: Sequence[EventRow]) -> None:
        self._post(self._answer, jobs, events)

    def _end_snapshot(self) -> None:
        # `close` may be running on another thread: whoever is answered last must not miss his answer for it.
        with self._reader_use, contextlib.suppress(sqlite3.ProgrammingError):
            if self._reader.in_transaction:
                self._reader.execute("COMMIT")

    def _answer(self, jobs: Sequence[Job], events: Sequence[EventRow]) -> None:
        if self._soon is not None:
            self._end_snapshot()  # who is answered now must find what it wrote
        for job in jobs:
            if job.error is not None and is_damage(job.error.__cause__ or job.error):
                self.note_damage(job.error)
            job.done(job.result, job.error)
        if events:
            self._on_events(events)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, work: Callable[[ReadScope, Unpack[Ts]], T], caller: Caller, *args: *Ts) -> T:
        """Run a bounded read at once, on the loop's own connection (8 us, against 80 for a hop to a thread)."""
        scope = ReadScope(self._reader, self.tables, self._calls, caller, self.clock.now_ms())
        try:
            with self._reader_use:
                if self._soon is not None and not self._reader.in_transaction:
                    self._reader.execute("BEGIN")
                    self._soon(self._end_snapshot)
                return work(scope, *args)
        except sqlite3.Error as error:
            self._note(error)
            raise translate(error) from error

    def read_apart(self, work: Callable[[ReadScope], Any], caller: Caller, done: Done) -> Token | None:
        """Run a read in one snapshot on the reader's thread; `done` is called on the loop. The token interrupts it."""
        if self.folder is None:
            self._read_here(work, caller, done)
            return None
        lane = self._lane
        if lane is None:
            lane = self._lane = Lane(open_reader(self.path), "reader")
        connection = lane.connection
        now = self.clock.now_ms()

        def run() -> Any:
            connection.execute("BEGIN")
            try:
                return work(ReadScope(connection, self.tables, self._calls, caller, now))
            finally:
                connection.execute("COMMIT")

        def answer(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._note(error)
                error = translate(error)
            self._post(answered, result, error)

        def answered(result: Any, error: BaseException | None) -> None:
            self._reading -= 1
            done(result, error)

        self._reading += 1
        return lane.submit(run, answer)

    def _read_here(self, work: Callable[[ReadScope], Any], caller: Caller, done: Done) -> None:
        try:
            result = self.read(work, caller)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            done(None, error)
        else:
            done(result, None)

    def read_alone(self, work: Callable[[ReadScope], T]) -> T:
        """Run a read as long as it takes, in a snapshot and on a connection of its own, on the calling thread."""
        connection = open_reader(self.path)
        try:
            connection.execute("BEGIN")
            return work(ReadScope(connection, self.tables, self._calls, Caller(), self.clock.now_ms()))
        finally:
            connection.close()

    def _note(self, error: BaseException) -> None:
        if is_damage(error):
            self.note_damage(error)

    def bounds(self) -> Bounds:
        """Return which events can be served."""
        with self._reader_use:
            return eventlog.bounds(self._reader)

    def events_after(self, seq: int, limit: int) -> list[Published]:
        """Return committed events after a number, oldest first."""
        with self._reader_use:
            return eventlog.read_after(self._reader, self.epoch, seq, limit)

    # -- copies -------------------------------------------------------------------------------------------------------

    def snapshot(self, name: str) -> Path:
        """Write a snapshot by hand into the data directory. Raises `Locked` when there is no room."""
        return self._snapshot(f"-{name}")

    def snapshot_daily(self, keep: Keep = keeping.DAILY) -> Path | None:
        """Write a snapshot if the last daily one is a day old and something was written since. Raises `Locked`.

        Reads and copies on the calling thread, beside everything else.
        """
        if self.folder is None:
            return None
        last = backup.newest_daily(self.folder / "snapshots")
        written = _written(self.path)
        if last is not None:
            age = self.clock.now_ms() / 1000 - last.stat().st_mtime
            if 0 <= age < _DAY or _written(last) == written:  # of a clock that was set back nothing can be told
                return None
        elif not any(written):
            return None
        return self._snapshot(backup.DAILY, keep)

    def _snapshot(self, suffix: str, keep: Keep = keeping.DAILY) -> Path:
        if self.folder is None:
            raise Locked("a store in memory has no snapshots")
        stamp = instant(self.clock.now_ms()).replace(":", "")
        connection = open_reader(self.path)
        try:
            return backup.snapshot(connection, self.folder / "snapshots", stamp + suffix, keep=keep)
        finally:
            connection.close()

    def backup_to(self, target: Path) -> None:
        """Write a consistent copy to a file while the daemon works."""
        connection = open_reader(self.path)
        try:
            backup.copy(connection, target)
        finally:
            connection.close()

    def purge(self, tables: Sequence[Table]) -> None:
        """Ask the writer to take away records that were deleted long ago, and old lines of audit.

        Looks for the records on the calling thread.
        """
        if self.folder is None:
            return
        caller = Caller(actor="daemon", operation="store.purge")
        connection = open_reader(self.path)
        try:
            for work in tombstones.due(connection, tables, self.clock.now_ms()):
                self.submit(work, caller, _purged)
        finally:
            connection.close()
        self.submit(audit.trim, caller, _purged)

    def trim_events(self) -> None:
        """Ask the writer to take away events over age or over the cap, some at a time."""

        def work(scope: WriteScope) -> int:
            scope.write_log()
            consumers.forget_dead(scope)
            return eventlog.trim(scope.connection, scope.ms)

        def again(removed: Any, error: BaseException | None) -> None:
            if error is None and removed == eventlog.TRIM_BATCH:
                self.trim_events()

        self.submit(work, Caller(actor="daemon", operation="events.trim"), again)
