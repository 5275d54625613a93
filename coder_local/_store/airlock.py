"""What a database passes before the daemon works with it: is it newer, is there room, snapshot, migrate, check.

Data is never left between two versions: each set of migrations is one transaction, and one that fails, that a full
disk or a kill ends, is no part of the database. The snapshot is for the person who wants to go back afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from coder_local.api import Error, Locked

from . import backup, migrations
from .clock import Clock, instant
from .connection import open_reader
from .migrations import MigrationError, MigrationSet
from .progress import INSTRUCTIONS, Progress

CORE = MigrationSet("core", migrations.find_files(Path(__file__).parent / "migrations"))


class Airlock:
    """Brings the tables of one database up to date, and tells how far it is.

    `folder` is the data directory, None in memory; `connection` is the one that writes, and its progress handler is
    taken away.
    """

    def __init__(self, path: Path, folder: Path | None, clock: Clock) -> None:
        self.progress = Progress()
        self._path = path
        self._folder = folder
        self._clock = clock
        self._to_save = False
        """Whether a snapshot is still to be written before anything is changed."""

    # -- the core's own -----------------------------------------------------------------------------------------------

    def core_waits(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the core's own tables have to be brought up to date. Makes them if there are none at all.

        Raises `NewerData`, or `MigrationError` if the first ones cannot be made.
        """
        done = migrations.applied(connection).get(CORE.plugin, [])
        migrations.refuse_newer(CORE, done)
        pending = [name for name in CORE.names if name not in done]
        if pending and not done:
            migrations.apply(connection, CORE)
            return False
        if pending:
            self.progress.begin(CORE.plugin, len(pending), self._clock.now_ms())
        return bool(pending)

    def migrate_core(self, connection: sqlite3.Connection) -> None:
        """Bring the core's own tables up to date: nobody else can write who does not know them.

        Raises `MigrationError`, or `Locked` if it was stopped; the data is as it was then.
        """
        try:
            self._snapshot()
            self._apply(connection, CORE)
        except MigrationError:
            raise
        except Error as error:
            self.progress.go_on()
            raise MigrationError(f"the core was not migrated: {error.message}", hint=error.hint) from error
        finally:
            self.progress.end()

    # -- those of plugins ---------------------------------------------------------------------------------------------

    def migrate(self, connection: sqlite3.Connection, sets: Sequence[MigrationSet]) -> dict[str, Error]:
        """Bring every plugin's tables up to date and return, by plugin, why it could not be.

        Costs one row when nothing is new. Before the first change of a database that holds something, one snapshot is
        written, whatever becomes of that change: a set that fails is taken back whole. Raises `Locked` if it was
        stopped.
        """
        wanted = migrations.fingerprint([CORE, *sets])
        if self._fingerprint(connection) == wanted:
            return {}
        failed: dict[str, Error] = {}
        done = migrations.applied(connection)
        self._to_save = self._folder is not None and bool(set(done) - {CORE.plugin})
        for each in sets:
            self.progress.go_on()
            try:
                self._migrate(connection, each, done.get(each.plugin, []))
            except Error as error:
                failed[each.plugin] = error
            except Exception as error:  # noqa: BLE001 - whatever ails one plugin's tables, the others get theirs
                failed[each.plugin] = MigrationError(f"the tables of {each.plugin} cannot be looked at: {error}")
                failed[each.plugin].__cause__ = error
            finally:
                self.progress.end()
        self.progress.go_on()
        if not failed:
            with contextlib.suppress(sqlite3.Error):  # on a full disk, say: the next start looks at all of it again
                self._finish(connection, sets, wanted)
        return failed

    def _migrate(self, connection: sqlite3.Connection, each: MigrationSet, applied: Sequence[str]) -> None:
        """Bring one plugin's tables up to date."""
        migrations.refuse_newer(each, applied)
        pending = [name for name in each.names if name not in applied]
        if not pending:
            migrations.check(connection, each)
            return
        self.progress.begin(each.plugin, len(pending), self._clock.now_ms())
        if self._to_save:
            self._snapshot()
            self._to_save = False
        self._apply(connection, each)

    @staticmethod
    def _finish(connection: sqlite3.Connection, sets: Sequence[MigrationSet], wanted: str) -> None:
        """Note that nothing is pending, in one commit with the checksums that an older version did not keep."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            for each in (CORE, *sets):
                migrations.record(connection, each)
            connection.execute("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('migrations', ?)", (wanted,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @staticmethod
    def _fingerprint(connection: sqlite3.Connection) -> str:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store_meta'").fetchone():
            return ""
        row = connection.execute("SELECT value FROM store_meta WHERE name = 'migrations'").fetchone()
        return row[0] if row else ""

    # -- both ---------------------------------------------------------------------------------------------------------

    def _apply(self, connection: sqlite3.Connection, each: MigrationSet) -> None:
        connection.set_progress_handler(self.progress.tick, INSTRUCTIONS)
        try:
            migrations.apply(connection, each, self.progress)
        finally:
            connection.set_progress_handler(None, 0)

    def _snapshot(self) -> None:
        """Write the snapshot of before. Of a migration that failed and begins anew, only the last one is kept."""
        if self._folder is None:
            return
        folder = self._folder / "snapshots"
        last = backup.newest_before_migration(folder)
        stamp = instant(self._clock.now_ms()).replace(":", "")
        connection = open_reader(self._path)
        try:
            new = backup.snapshot(connection, folder, stamp + backup.BEFORE_MIGRATION, self.progress.copied)
            if last is not None and last != new and _applied_in(last) == migrations.applied(connection):
                last.unlink(missing_ok=True)
        finally:
            connection.close()


def _applied_in(path: Path) -> dict[str, list[str]] | None:
    connection = open_reader(path)
    try:
        return migrations.applied(connection)
    except sqlite3.Error:
        return None  # it is damaged, and no other one takes its place
    finally:
        connection.close()


def stopped() -> Error:
    """Return the answer to who writes after the core's own tables were not brought up to date."""
    return Locked("the database was not brought up to date: nothing was written", hint="look into the log")
