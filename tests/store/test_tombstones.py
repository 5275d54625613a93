"""What was deleted long ago goes for good, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store import changes, tombstones
from coder_local._store.clock import FakeClock
from coder_local._store.scope import Caller
from coder_local.api import NotFound

from .items import Item, domain, insert, make_tables

DAY = 24 * 3600


def ids(kernel: Kernel) -> set[str]:
    return {item.id for item in kernel.store.write(lambda tx: tx.select(Item, deleted=True))}


def delete(kernel: Kernel, item: Item) -> None:
    kernel.store.write(lambda tx: tx.delete(tx.get(Item, item.id)), Caller(operation="shelf.items.delete"))


def test_records_go_ninety_days_after_they_were_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "BATCH", 2)
    clock = FakeClock()
    kernel = Kernel(tmp_path, clock=clock)
    kernel.take(domain)
    kernel.open()
    make_tables(kernel)
    kept = insert(kernel)
    old = [insert(kernel) for _ in range(5)]
    back = insert(kernel)
    for each in (*old, back):
        delete(kernel, each)
    last = kernel.store.write(lambda tx: changes.last_change_set(tx, "user"))
    kernel.store.write(lambda tx: changes.undo(tx, last), Caller(operation=changes.UNDO))
    clock.advance(60 * DAY)
    young = insert(kernel)
    delete(kernel, young)
    clock.advance(30 * DAY)
    kernel.store.purge(kernel.store.tables.all())
    assert ids(kernel) == {kept.id, back.id, young.id, *(each.id for each in old)}
    clock.advance(1)
    kernel.store.purge(kernel.store.tables.all())
    assert ids(kernel) == {kept.id, back.id, young.id}
    history = kernel.store.write(lambda tx: changes.recent(tx, before=None, limit=50))
    assert {old[0].id, young.id} <= {each.id for each in history}
    kernel.store.close()


def test_what_is_gone_cannot_be_brought_back(tmp_path: Path) -> None:
    clock = FakeClock()
    kernel = Kernel(tmp_path, clock=clock)
    kernel.take(domain)
    kernel.open()
    make_tables(kernel)
    item = insert(kernel)
    delete(kernel, item)
    last = kernel.store.write(lambda tx: changes.last_change_set(tx, "user"))
    clock.advance(91 * DAY)
    kernel.store.purge(kernel.store.tables.all())
    with pytest.raises(NotFound, match="is gone"):
        kernel.store.write(lambda tx: changes.undo(tx, last), Caller(operation=changes.UNDO))
    kernel.store.close()
