"""A clock that is set back breaks no order and no waiting: both go by numbers, or by a clock that only goes on."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local._admission import Admission
from coder_local._admission import tokens as token_grants
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER
from coder_local._store import backup, changes
from coder_local._store.clock import FakeClock, IdMaker
from coder_local._store.scope import Caller
from coder_local.api import Kind, NeedsConfirmation, Operation, RateLimited, Safety

from .items import Item, domain, insert, make_tables
from .test_feed import Listener

YEAR = 365 * 24 * 3600
MOVES = st.lists(st.integers(-YEAR, YEAR), min_size=1, max_size=12)


def opened(clock: FakeClock) -> Kernel:
    kernel = Kernel(clock=clock)
    kernel.take(domain)
    kernel.open()
    make_tables(kernel)
    return kernel


@given(moves=MOVES)
def test_events_and_changes_keep_the_order_of_commit_however_the_clock_moves(moves: list[int]) -> None:
    clock = FakeClock()
    kernel = opened(clock)
    item = insert(kernel, "0")
    for number, move in enumerate(moves, 1):
        clock.advance(move)
        kernel.store.write(lambda tx, n=number: tx.update(tx.get(Item, item.id), title=str(n)))  # type: ignore[misc]
    said = [msgspec.json.decode(each.body) for each in kernel.store.events_after(0, 100)]
    assert [each["sequence"] for each in said] == list(range(1, len(moves) + 2))
    assert [each["data"]["rev"] for each in said] == list(range(1, len(moves) + 2))
    found = kernel.store.read(
        lambda read: changes.history(read, kernel.registry.tables.of(Item), item.id, before=None, limit=100), Caller()
    )
    assert [each.rev for each in found] == list(range(len(moves) + 1, 0, -1))
    assert kernel.store.read(lambda read: read.get(Item, item.id), Caller()).title == str(len(moves))
    kernel.store.write(lambda tx: changes.undo(tx, found[0].change_set), Caller(operation=changes.UNDO))
    assert kernel.store.read(lambda read: read.get(Item, item.id), Caller()).title == str(len(moves) - 1)
    kernel.store.close()


@given(moves=MOVES)
def test_ids_sort_by_the_order_of_making_however_the_clock_moves(moves: list[int]) -> None:
    clock = FakeClock()
    maker = IdMaker(clock)
    made = [maker.new()]
    for move in moves:
        clock.advance(move)
        made += [maker.new() for _ in range(3)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_subscriber_misses_nothing_and_gets_nothing_twice_over_a_clock_set_back() -> None:
    clock = FakeClock()
    kernel = opened(clock)
    kernel.store._on_events = kernel.feed.publish
    live, resumed = Listener(), Listener()
    live.listen(kernel.feed)
    for _ in range(3):
        insert(kernel)
        clock.advance(-YEAR)
    resumed.listen(kernel.feed, f"{kernel.feed.epoch}:1")
    insert(kernel)
    assert live.heard == [1, 2, 3, 4]
    assert resumed.heard == [2, 3, 4]
    kernel.store.trim_events()
    assert len(kernel.store.events_after(0, 10)) == 4  # what seems to lie in the future is not over age
    kernel.store.close()


@pytest.fixture
def kernel() -> Kernel:
    return opened(FakeClock())


@pytest.mark.parametrize("move", [-YEAR, YEAR])
def test_a_confirmation_lasts_ten_minutes_whatever_the_clock_on_the_wall_says(kernel: Kernel, move: int) -> None:
    seconds = [0.0]
    admission = Admission(kernel, now=lambda: seconds[0])
    wipe = Operation("shelf.wipe", Kind.COMMAND, Safety.DESTRUCTIVE, None)

    def ask() -> str:
        with pytest.raises(NeedsConfirmation) as caught:
            admission.admit(OWNER, wipe, b"{}", None)
        assert caught.value.data is not None
        return str(caught.value.data["confirm"])

    assert isinstance(kernel.store.clock, FakeClock)
    confirm = ask()
    kernel.store.clock.advance(move)
    seconds[0] += 599
    admission.admit(OWNER, wipe, b"{}", confirm)
    confirm = ask()
    kernel.store.clock.advance(-move)
    seconds[0] += 601
    with pytest.raises(NeedsConfirmation):
        admission.admit(OWNER, wipe, b"{}", confirm)


@pytest.mark.parametrize("move", [-YEAR, YEAR])
def test_a_token_is_valid_until_revoked_and_its_rate_is_the_same(kernel: Kernel, move: int) -> None:
    seconds = [0.0]
    admission = Admission(kernel, now=lambda: seconds[0])
    made = kernel.store.write(
        lambda tx: token_grants.create(tx, name="t", limits=token_grants.Limits(per_second=1, burst=1, per_window=1000))
    )
    assert isinstance(kernel.store.clock, FakeClock)
    principal = admission.authenticate(made.token)
    admission.limit(principal)
    kernel.store.clock.advance(move)
    assert admission.authenticate(made.token) == principal
    with pytest.raises(RateLimited):
        admission.limit(principal)
    seconds[0] += 1
    admission.limit(principal)
    kernel.store.write(lambda tx: token_grants.revoke(tx, made.info.id))
    assert not admission.holds(principal)


def test_the_snapshot_just_written_stays_though_the_clock_was_set_back(tmp_path: Path) -> None:
    clock = FakeClock()
    kernel = Kernel(tmp_path, clock=clock)
    kernel.take(domain)
    kernel.open()
    for number in range(backup.SNAPSHOTS + 1):
        clock.advance(1)
        path = kernel.store.snapshot(f"old{number}")
        os.utime(path, (2**32 + number, 2**32 + number))  # written when the clock was ahead
    clock.advance(-YEAR)
    newest = kernel.store.snapshot("newest")
    left = backup.snapshots(tmp_path / "snapshots")
    assert newest in left
    assert len(left) == backup.SNAPSHOTS
    assert backup.check(newest) == []
    kernel.store.close()
