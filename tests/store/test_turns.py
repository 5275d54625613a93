"""Bounded reads of one turn of the loop share a snapshot; whoever was answered finds what it wrote."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store.scope import Caller, ReadScope

from .items import Item, domain, make_tables

COUNT = "SELECT count(*) FROM shelf_items"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A kernel on a real file, whose writer has its thread."""
    loop = asyncio.get_running_loop()
    made = Kernel(tmp_path)
    made.take(domain)
    made.open()
    make_tables(made)
    made.start(loop.call_soon_threadsafe, loop.call_soon)
    yield made
    await asyncio.to_thread(made.store.close)


def count(kernel: Kernel) -> int:
    return kernel.store.read(lambda read: int(read.rows(COUNT)[0][0]), Caller())


def write(kernel: Kernel) -> asyncio.Future[None]:
    """Insert an item; the future ends when the loop is told of the commit."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    kernel.store.submit(lambda tx: tx.insert(Item(title="a")), Caller(), lambda *_: future.set_result(None))
    return future


async def test_reads_of_one_turn_see_the_same(running: Kernel) -> None:
    committed = threading.Event()
    post = running.store._post

    def tell(*what: Any) -> None:
        post(*what)
        committed.set()

    running.store._post = tell
    assert count(running) == 0
    answered = write(running)
    assert committed.wait(10)  # the loop does not come round meanwhile
    assert count(running) == 0
    await answered
    assert count(running) == 1


async def test_what_was_answered_is_found_in_the_same_turn(running: Kernel) -> None:
    found: list[int] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(_: object, error: BaseException | None) -> None:
        assert error is None
        found.append(count(running))
        future.set_result(None)

    assert count(running) == 0
    running.store.submit(lambda tx: tx.insert(Item(title="a")), Caller(), done)
    await future
    assert found == [1]


async def test_no_snapshot_outlives_its_turn(running: Kernel) -> None:
    assert count(running) == 0
    assert running.store._reader.in_transaction
    await asyncio.sleep(0)
    assert not running.store._reader.in_transaction


async def test_a_read_that_fails_leaves_the_next_one_whole(running: Kernel) -> None:
    def fail(read: ReadScope) -> None:
        read.rows("SELECT id FROM nowhere")

    with pytest.raises(Exception, match="nowhere"):
        running.store.read(fail, Caller())
    assert count(running) == 0
    await write(running)
    assert count(running) == 1
