"""The airlock: what is told while it works, how it is stopped, what it leaves, and files that were edited."""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status
from coder_local._store import airlock, backup, migrations
from coder_local._store.migrations import MigrationError
from coder_local._store.progress import CHECK, INSTRUCTIONS, SNAPSHOT, Step
from coder_local.api import Locked

from .test_migrations import open_kernel, write_plugin

COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {}) SELECT max(x) AS x FROM c"


def prepare(folder: Path, second: str) -> tuple[Kernel, Plugin]:
    """Return a kernel whose plugin `things` has a second migration to come; its tables are not up to date yet."""
    write_plugin(folder, {"0001_things.sql": "{table}"})
    open_kernel(folder)[0].store.close()
    write_plugin(folder, {"0002_more.sql": second})
    kernel = Kernel(folder)
    plugin = Plugin("things", Source.FOLDER, str(folder / "plugins" / "things"))
    kernel.load([plugin])
    kernel.open_store(lambda _: None)
    return kernel, plugin


def follow(kernel: Kernel) -> list[Step]:
    """Return the list that every step is put into when SQLite or a copy looks up from its work."""
    seen: list[Step] = []
    progress = kernel.store.airlock.progress
    tick, copied = progress.tick, progress.copied

    def note() -> None:
        assert progress.current is not None
        seen.append(progress.current)

    def ticked() -> int:
        end = tick()
        note()
        return end

    def has_copied(status: int, remaining: int, total: int) -> None:
        copied(status, remaining, total)
        note()

    progress.tick, progress.copied = ticked, has_copied  # type: ignore[method-assign]
    return seen


def test_every_step_is_told_with_what_sqlite_has_computed_in_it(tmp_path: Path) -> None:
    kernel, _ = prepare(tmp_path, f"CREATE TABLE counted AS {COUNT.format(100_000)};")
    seen = follow(kernel)
    assert kernel.store.migrate(kernel.registry.migration_sets()) == {}
    assert kernel.store.airlock.progress.current is None
    assert (seen[0].name, seen[0].fraction, seen[0].done, seen[0].of) == (SNAPSHOT, 1.0, 0, 1)
    computed = [step.instructions for step in seen if step.name == "0002_more"]
    assert computed[:2] == [INSTRUCTIONS, 2 * INSTRUCTIONS]
    assert computed == sorted(computed)
    told = next(step for step in seen if step.name == "0002_more").told()
    assert told.message == "migrating things 0002 (1 of 1), 0 s"
    assert (told.plugin, told.fraction, told.started_at[:2]) == ("things", None, "20")
    assert seen[0]._replace(name=CHECK).words == "checking the tables of things, 0 s"
    assert seen[0].words == "writing a snapshot before migrating things (100 %), 0 s"
    kernel.store.close()


def test_a_migration_that_is_to_stop_is_interrupted_taken_back_and_begun_anew(tmp_path: Path) -> None:
    kernel, _ = prepare(tmp_path, f"CREATE TABLE before_it (a TEXT); CREATE TABLE counted AS {COUNT.format(300_000)};")
    progress = kernel.store.airlock.progress
    tick = progress.tick

    def stop_soon() -> int:
        progress.stopping = True
        return tick()

    progress.tick = stop_soon  # type: ignore[method-assign]
    with pytest.raises(Locked, match="the daemon is stopping"):
        kernel.store.migrate(kernel.registry.migration_sets())
    connection = kernel.store.writer.connection
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name IN ('before_it', 'counted')").fetchone()
    kernel.store.close()
    again, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.LOADED
    assert again.store.writer.connection.execute("SELECT x FROM counted").fetchone() == (300_000,)
    again.store.close()


def test_a_snapshot_that_is_to_stop_leaves_no_file(tmp_path: Path) -> None:
    kernel, _ = prepare(tmp_path, "CREATE TABLE other (a TEXT);")
    progress = kernel.store.airlock.progress
    progress.began = lambda: setattr(progress, "stopping", True)
    with pytest.raises(Locked, match="the daemon is stopping"):
        kernel.store.migrate(kernel.registry.migration_sets())
    assert list((tmp_path / "snapshots").iterdir()) == []
    kernel.store.close()


def test_a_command_has_its_deadline_again_after_a_migration(tmp_path: Path) -> None:
    kernel, _ = prepare(tmp_path, "CREATE TABLE other (a TEXT);")
    assert kernel.store.migrate(kernel.registry.migration_sets()) == {}
    ticks: list[int] = []
    kernel.store.airlock.progress.tick = lambda: ticks.append(1) or 1  # type: ignore[method-assign]
    count = kernel.store.write(lambda tx: tx.connection.execute(COUNT.format(100_000)).fetchone()[0])  # type: ignore[attr-defined]
    assert (count, ticks) == (100_000, [])
    kernel.store.close()


def test_a_migration_that_fails_at_every_start_leaves_one_snapshot_and_no_older_one_goes(tmp_path: Path) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "{table}", "0002_good.sql": "CREATE TABLE good (a TEXT);"})
    open_kernel(tmp_path)[0].store.close()
    old = tmp_path / "snapshots" / "2020-01-01T000000Z_before-migration.db"
    old.parent.mkdir(exist_ok=True)
    write_plugin(tmp_path, {"0003_bad.sql": "CREAT TABLE bad (a);"})
    with closing(sqlite3.connect(old)) as older:
        older.execute("CREATE TABLE store_meta (name TEXT)")
    for _ in range(backup.SNAPSHOTS + 1):
        kernel, plugin = open_kernel(tmp_path)
        assert plugin.status is Status.STOPPED_BY_MIGRATION
        kernel.store.close()
    found = backup.snapshots(old.parent)
    assert len(found) == 2
    assert found[-1] == old


def test_one_snapshot_is_written_for_all_plugins_of_a_start_also_after_one_failed(tmp_path: Path) -> None:
    for name in ("things", "others"):
        write_plugin(tmp_path, {"0001_things.sql": "{table}"}, name=name)
        open_kernel(tmp_path, name)[0].store.close()
    write_plugin(tmp_path, {"0002_bad.sql": "CREAT TABLE bad (a);"}, name="things")
    write_plugin(tmp_path, {"0002_bad.sql": "CREAT TABLE bad (a);"}, name="others")
    kernel = Kernel(tmp_path)
    kernel.load([Plugin(name, Source.FOLDER, str(tmp_path / "plugins" / name)) for name in ("things", "others")])
    kernel.open_store(lambda _: None)
    before = set(backup.snapshots(tmp_path / "snapshots"))
    seen = follow(kernel)
    assert kernel.store.migrate(kernel.registry.migration_sets()).keys() == {"things", "others"}
    assert len({step.plugin for step in seen if step.name == SNAPSHOT}) == 1
    assert len(set(backup.snapshots(tmp_path / "snapshots")) - before) == 1
    kernel.store.close()


@pytest.mark.parametrize("statement", ["COMMIT", "BEGIN", "ROLLBACK", "-- now\nEND"])
def test_a_migration_may_not_end_the_transaction_it_runs_in(tmp_path: Path, statement: str) -> None:
    kernel, plugin = prepare(tmp_path, f"CREATE TABLE half (a TEXT);\n{statement};\nCREAT TABLE bad (a);")
    kernel.registry.stop_unmigrated(kernel.store.migrate(kernel.registry.migration_sets()))
    assert plugin.status is Status.STOPPED_BY_MIGRATION
    assert plugin.reason == "0002_more.sql begins or ends a transaction"
    assert not kernel.store.writer.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()
    kernel.store.close()


Usage = namedtuple("Usage", "total used free")


def test_without_room_for_the_snapshot_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, _ = prepare(tmp_path, "CREATE TABLE other (a TEXT);")
    seen: list[str] = []
    kernel.store.writer.connection.set_trace_callback(seen.append)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(2**30, 2**30 - 2**15, 2**15))
    failed = kernel.store.migrate(kernel.registry.migration_sets())
    assert failed["things"].message == "a snapshot needs 1 MiB of free disk, and 0 MiB are free"
    assert not [sql for sql in seen if not sql.startswith(("SELECT", "PRAGMA"))]
    kernel.store.close()
    # The same of the core's own tables refuses the start.
    newer = tmp_path / "0099_more.sql"
    newer.write_text("CREATE TABLE more (a TEXT);")
    monkeypatch.setattr(airlock, "CORE", airlock.CORE._replace(files=(*airlock.CORE.files, newer)))
    with pytest.raises(MigrationError, match="core was not migrated: a snapshot needs 1 MiB"):
        Kernel(tmp_path).open()


def test_ends_of_lines_and_a_mark_of_byte_order_are_no_change_of_a_migration(tmp_path: Path) -> None:
    text = "-- Why: x\n{table}\nCREATE TABLE other (\n  a TEXT DEFAULT 'one\ntwo'\n);\n"
    where = write_plugin(tmp_path, {"0001_things.sql": text}) / "migrations" / "0001_things.sql"
    there = where.read_bytes()
    where.write_bytes(b"\xef\xbb\xbf" + there.replace(b"\n", b"\r\n"))
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.LOADED
    connection, sets = kernel.store.writer.connection, kernel.registry.migration_sets()
    connection.execute("INSERT INTO other DEFAULT VALUES")
    assert connection.execute("SELECT a FROM other").fetchone() == ("one\ntwo",)
    for same in (there, there.rstrip(), there.replace(b"\n", b"\r"), there + b"\n\r\n"):
        where.write_bytes(same)
        assert migrations.edited(connection, sets) == []
    where.write_bytes(there.replace(b"two", b"three"))
    assert migrations.edited(connection, sets) == [("things", "0001_things")]
    kernel.store.close()
    again, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.LOADED, "an edited migration refuses nothing"
    assert migrations.edited(again.store.writer.connection, sets) == [("things", "0001_things")]
    again.store.close()


def test_checksums_are_kept_for_what_a_version_without_them_applied(tmp_path: Path) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "{table}"})
    kernel, _ = open_kernel(tmp_path)
    kernel.store.writer.connection.execute(
        "DELETE FROM store_meta WHERE name GLOB 'migration:*' OR name = 'migrations'"
    )
    kernel.store.close()
    again, _ = open_kernel(tmp_path)
    rows = again.store.writer.connection.execute("SELECT name FROM store_meta WHERE name GLOB 'migration:*'")
    assert {name for (name,) in rows} == {f"migration:core/{name}" for name in airlock.CORE.names} | {
        "migration:things/0001_things"
    }
    again.store.close()
