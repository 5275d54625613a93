"""Copies are whole, a restored file has a new epoch, and a damaged file is set aside, never deleted."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store import backup
from coder_local._store.clock import FakeClock
from coder_local._store.scope import Caller
from coder_local.api import Error, Invalid, Locked

from .items import Item, domain, insert, make_tables


def test_a_backup_is_whole_and_private_while_the_store_is_open(on_disk: Kernel, tmp_path: Path) -> None:
    insert(on_disk)
    target = tmp_path / "copy.db"
    on_disk.store.backup_to(target)
    insert(on_disk)
    assert backup.check(target) == []
    assert target.stat().st_mode & 0o077 == 0
    copied = sqlite3.connect(target)
    assert copied.execute("SELECT count(*) FROM shelf_items").fetchone() == (1,)
    copied.close()


def test_a_backup_that_cannot_be_written_leaves_nothing(on_disk: Kernel, tmp_path: Path) -> None:
    with pytest.raises(Locked):
        on_disk.store.backup_to(tmp_path / "missing" / "copy.db")
    assert not list(tmp_path.glob(".*.part"))


def test_restore_sets_the_old_file_aside_and_changes_the_epoch(on_disk: Kernel, tmp_path: Path) -> None:
    insert(on_disk, "kept")
    on_disk.store.backup_to(tmp_path / "copy.db")
    insert(on_disk, "later")
    old_epoch = on_disk.store.epoch
    on_disk.store.close()
    aside = backup.restore(tmp_path / "copy.db", on_disk.store.path, tmp_path / "before-restore", "now")
    assert aside is not None
    assert (aside / "coder-local.db").exists()
    again = Kernel(tmp_path)
    again.take(domain)
    again.open()
    titles = [item.title for item in again.store.read(lambda scope: scope.select(Item), Caller())]
    assert titles == ["kept"]
    assert again.store.epoch != old_epoch
    again.store.close()
    on_disk.store.open()  # for the fixture to close


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look at" * 100])
def test_what_is_no_backup_is_refused_and_nothing_is_touched(tmp_path: Path, content: bytes) -> None:
    source, database = tmp_path / "x.db", tmp_path / "coder-local.db"
    source.write_bytes(content)
    database.write_bytes(b"mine")
    with pytest.raises(Invalid):
        backup.restore(source, database, tmp_path / "aside", "now")
    assert database.read_bytes() == b"mine"


def fill(folder: Path, count: int = 300) -> Path:
    kernel = Kernel(folder)
    kernel.take(domain)
    kernel.open()
    make_tables(kernel)
    for number in range(count):
        insert(kernel, f"item {number} " + "x" * 200)
    kernel.store.snapshot("good")
    kernel.store.close()
    return kernel.store.path


def reopen(folder: Path) -> Kernel:
    kernel = Kernel(folder)
    kernel.take(domain)
    kernel.open()
    return kernel


def test_a_file_that_is_no_database_is_set_aside_with_its_log_and_the_store_opens(tmp_path: Path) -> None:
    database = fill(tmp_path)
    database.write_bytes(b"garbage" * 5000)
    kernel = reopen(tmp_path)
    assert kernel.store.set_aside is not None
    assert (kernel.store.set_aside / "coder-local.db").read_bytes()[:7] == b"garbage"
    make_tables(kernel)
    assert insert(kernel).rev == 1
    assert backup.newest_good(tmp_path / "snapshots") is not None
    kernel.store.close()


def test_a_damaged_page_answers_broken_and_the_next_start_sets_the_file_aside(tmp_path: Path) -> None:
    database = fill(tmp_path)
    probe = sqlite3.connect(database)
    root = probe.execute("SELECT rootpage FROM sqlite_master WHERE name = 'shelf_items'").fetchone()[0]
    size = probe.execute("PRAGMA page_size").fetchone()[0]
    probe.close()
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad" * (size // 2))
    kernel = reopen(tmp_path)
    with pytest.raises(Error) as caught:
        kernel.store.read(lambda scope: scope.select(Item), Caller())
    assert caught.value.kind == "broken"
    assert kernel.store.damage is not None
    assert kernel.store.write(lambda tx: tx.number("still")) == 1  # what is whole still works
    kernel.store.close()
    again = reopen(tmp_path)
    assert again.store.set_aside is not None
    assert backup.newest_good(tmp_path / "snapshots") is not None
    again.store.close()


def test_snapshots_are_few(on_disk: Kernel, tmp_path: Path) -> None:
    for number in range(backup.SNAPSHOTS + 3):
        on_disk.store.clock = type("Later", (), {"now_ms": lambda _, n=number: 1_800_000_000_000 + n})()
        on_disk.store.snapshot("x")
    assert len(backup.snapshots(tmp_path / "snapshots")) == backup.SNAPSHOTS


def test_a_snapshot_does_not_go_by_its_own_writing_after_the_clock_was_set_back(
    on_disk: Kernel, tmp_path: Path
) -> None:
    on_disk.store.clock = FakeClock(1_800_000_000_000)
    for number in range(backup.SNAPSHOTS):
        on_disk.store.snapshot(f"later-{number}")
    ahead = time.time() + 3600
    for path in backup.snapshots(tmp_path / "snapshots"):
        os.utime(path, (ahead, ahead))
    on_disk.store.clock = FakeClock(1_700_000_000_000)
    assert on_disk.store.snapshot("new").exists()
    assert len(backup.snapshots(tmp_path / "snapshots")) == backup.SNAPSHOTS


def test_snapshots_by_hand_do_not_push_out_the_one_before_a_migration(on_disk: Kernel, tmp_path: Path) -> None:
    before = on_disk.store._snapshot(backup.BEFORE_MIGRATION)
    for number in range(backup.SNAPSHOTS + 2):
        on_disk.store.snapshot(f"before-migration-{number}")
    on_disk.store.snapshot("before-migration")
    assert before.exists()
    assert len(backup.snapshots(tmp_path / "snapshots")) == backup.SNAPSHOTS + 1


def test_a_daily_snapshot_is_written_once_a_day_when_something_was_written(on_disk: Kernel) -> None:
    store = on_disk.store
    clock = store.clock = FakeClock(1_800_000_000_000)

    def due() -> bool:
        path = store.snapshot_daily()
        if path is not None:
            os.utime(path, (clock.now_ms() / 1000,) * 2)
        return path is not None

    assert not due()  # nothing was ever written
    insert(on_disk)
    assert due()
    insert(on_disk)
    assert not due()  # it is not a day old
    clock.advance(25 * 3600)
    assert due()
    clock.advance(25 * 3600)
    assert not due()  # nothing was written since
