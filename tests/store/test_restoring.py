"""Each kind of copy is restored for real: data, cursors, repeated calls and undo, and which copies are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store import backup, keeping
from coder_local._store.clock import FakeClock
from coder_local._store.feed import Reset
from coder_local._store.keeping import Keep
from coder_local.api import Locked, NotFound

from .items import Item, domain, insert
from .test_idempotency import call
from .test_undo import undo_last


def _daily(kernel: Kernel, _: Path) -> Path:
    made = kernel.store.snapshot_daily()
    assert made is not None
    return made


def _backup(kernel: Kernel, folder: Path) -> Path:
    kernel.store.backup_to(folder / "elsewhere.db")
    return folder / "elsewhere.db"


KINDS: dict[str, Callable[[Kernel, Path], Path]] = {
    "daily": _daily,
    "before a migration": lambda kernel, _: kernel.store._snapshot(backup.BEFORE_MIGRATION),
    "by hand": lambda kernel, _: kernel.store.snapshot("by-hand"),
    "backup": _backup,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_each_kind_is_the_data_of_its_moment(on_disk: Kernel, tmp_path: Path, kind: str) -> None:
    first = call(on_disk, "shelf.items.create", title="kept", idempotency_key="k")
    call(on_disk, "shelf.items.update", id=first["id"], title="changed")
    copy = KINDS[kind](on_disk, tmp_path)
    head = on_disk.store.bounds()
    insert(on_disk, "later")
    on_disk.store.close()
    backup.restore(copy, on_disk.store.path, tmp_path / "replaced", "now")

    again = Kernel(tmp_path)
    again.take(domain)
    again.open()
    assert [item["title"] for item in call(again, "shelf.items.list")["items"]] == ["changed"]
    assert call(again, "shelf.items.create", title="kept", idempotency_key="k") == first  # answered, not done again
    undo_last(again)
    assert call(again, "shelf.items.get", id=first["id"])["title"] == "kept"
    bounds = again.store.bounds()
    assert bounds.epoch != head.epoch
    with pytest.raises(Reset) as caught:
        again.feed.place(f"{head.epoch}:{head.head}")
    assert caught.value.reason == "other_epoch"
    with pytest.raises(NotFound):
        again.store.write(lambda tx: tx.get(Item, "gone"))
    again.store.close()
    on_disk.store.open()  # for the fixture to close


def test_each_snapshot_was_read_whole_and_a_changed_one_is_read_again(on_disk: Kernel) -> None:
    insert(on_disk)
    made = on_disk.store.snapshot("x")
    assert keeping.noted(made) == []
    content = bytearray(made.read_bytes())
    content[-4096:] = os.urandom(4096)
    made.write_bytes(content)
    os.utime(made, (1, 1))
    assert keeping.noted(made) is None
    faults = backup.tested(made)
    assert faults
    assert keeping.noted(made) == faults
    (made.parent / ".tested.json").write_text("{broken")
    assert keeping.noted(made) is None


def test_a_damaged_database_pushes_no_good_snapshot_out(on_disk: Kernel) -> None:
    for number in range(300):
        insert(on_disk, f"item {number}" + "x" * 100)
    store = on_disk.store
    good = [store.snapshot(f"good-{number}") for number in range(backup.SNAPSHOTS)]
    connection = store.writer.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'shelf_items'").fetchone()
    with store.path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xde\xad" * 2048)
    with pytest.raises(Locked, match=r"not whole|could not be written"):
        store.snapshot("bad")
    assert sorted(backup.snapshots(good[0].parent)) == sorted(good)


def test_daily_snapshots_are_kept_for_days_and_the_last_of_each_week_longer(on_disk: Kernel, tmp_path: Path) -> None:
    """Forty days on which something was written: seven days are left, and the Sundays of two weeks before."""
    clock = on_disk.store.clock = FakeClock()
    begin = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
    for day in range(40):
        at = begin + timedelta(days=day)
        clock.ms = round(at.timestamp() * 1000)
        insert(on_disk)
        made = on_disk.store.snapshot_daily(Keep(daily=7, weekly=2))
        assert made is not None
        os.utime(made, (at.timestamp(), at.timestamp()))
    by_hand = on_disk.store.snapshot("by-hand")
    kept = [path for path in backup.snapshots(tmp_path / "snapshots") if path != by_hand]
    left = [date.fromisoformat(path.name[:10]) for path in kept]
    last = (begin + timedelta(days=39)).date()
    assert [last - each for each in left[:7]] == [timedelta(days=number) for number in range(7)]
    assert [each.isoweekday() for each in left[7:]] == [7, 7]
    assert left[7] - left[8] == timedelta(days=7)
