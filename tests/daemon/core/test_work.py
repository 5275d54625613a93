"""Work between two commits: alone with the connection, in its turn, and its errors reach who waits."""

from __future__ import annotations

import asyncio

import pytest

from coder_local._daemon.core.work import alone, apart

from .conftest import Core


async def test_it_runs_outside_of_any_transaction_between_those_before_and_after(notes: Core) -> None:
    connection = notes.kernel.store.writer.connection

    def look() -> tuple[bool, int]:
        return connection.in_transaction, connection.execute("SELECT count(*) FROM notes").fetchone()[0]

    before = [asyncio.ensure_future(notes.call("notes.create", workspace="w", title=str(n))) for n in range(20)]
    await asyncio.sleep(0)
    looked = asyncio.ensure_future(alone(notes.kernel, "test", look))
    await asyncio.sleep(0)
    after = [asyncio.ensure_future(notes.call("notes.create", workspace="w", title=str(n))) for n in range(20)]
    await asyncio.gather(*before, *after)
    assert await looked == (False, 20)


async def test_an_error_reaches_who_waits_and_a_transaction_left_open_is_taken_back(notes: Core) -> None:
    connection = notes.kernel.store.writer.connection

    def fail() -> None:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM notes")
        raise KeyError("lost")

    await notes.call("notes.create", workspace="w", title="kept")
    with pytest.raises(KeyError, match="lost"):
        await alone(notes.kernel, "test", fail)
    assert [each["title"] for each in (await notes.call("notes.list"))["items"]] == ["kept"]
    assert (await notes.call("notes.create", workspace="w", title="next"))["rev"] == 1


async def test_work_apart_that_nobody_waits_for_any_more_is_let_go() -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> int:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
        return 1

    waiting = asyncio.ensure_future(apart(slow))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await apart(lambda: 2) == 2
