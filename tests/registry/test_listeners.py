"""Durable listeners: each event once and in order, across failures and restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_local._registry import listeners
from coder_local._registry.kernel import Kernel
from coder_local.api import (
    Conflict,
    Context,
    DeclarationError,
    Domain,
    Event,
    Heard,
    Record,
    Transaction,
)
from coder_local.testing import Sandbox, sandbox


class Bell:
    """A domain that rings, and one that listens to it and writes down what it heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.fails: dict[str, int] = {}
        """How often a word makes the listener fail, yet."""
        self.again: list[str] = []
        """Words that lead to another ring."""
        self.ringer, self.keeper = Domain("bell"), Domain("keeper")
        self._declare()

    def _declare(self) -> None:
        ringer, keeper = self.ringer, self.keeper

        @ringer.event("bell.ring.rung")
        class Rung(Event):
            """It rang."""

            ring: str

        @ringer.command("bell.ring", emits=Rung)
        def ring(tx: Transaction, *, words: list[str]) -> None:
            """Ring once for each word."""
            for word in words:
                tx.emit(Rung(ring=word))

        @keeper.table("notes")
        class Note(Record):
            """What was heard."""

            word: str

        keeper.standard(Note)

        @keeper.listener("bell.*")
        def note(tx: Transaction, *, event: Heard) -> None:
            """Write down each ring."""
            word = event.data["ring"]
            self.heard.append(event)
            tx.insert(Note(word=word))
            if self.fails.get(word, 0):
                self.fails[word] -= 1
                raise Conflict(f"not {word}")
            if word in self.again:
                tx.call("bell.ring", words=[word])


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def box(bell: Bell) -> Iterator[Sandbox]:
    with sandbox(bell.ringer, bell.keeper) as opened:
        yield opened


def notes(box: Sandbox) -> list[str]:
    return [row[0] for row in box.snapshot().rows("SELECT word FROM keeper_notes ORDER BY id")]


def dead(kernel: Kernel) -> list[tuple[Any, ...]]:
    return kernel.store.writer.connection.execute("SELECT consumer, error, attempts FROM event_dead").fetchall()


async def test_each_event_is_heard_once_in_order_from_the_first_registration_on(box: Sandbox, bell: Bell) -> None:
    box.call("bell.ring", words=["before"])
    async with box.running():
        box.as_caller(workspace="w").call("bell.ring", words=["a", "b"])
        box.call("bell.ring", words=["c"])
        await box.settled()
    assert notes(box) == ["a", "b", "c"]
    first = bell.heard[0]
    assert (first.type, first.subject, first.actor) == ("bell.ring.rung", "bell.ring/a", "user")
    row = box.snapshot().rows("SELECT origin, workspace_id FROM keeper_notes ORDER BY id LIMIT 1")
    assert row == [("plugin:keeper", "w")]
    connection = box.kernel.store.writer.connection
    cause = connection.execute("SELECT cause, depth FROM event WHERE type = 'keeper.note.created'").fetchall()
    assert cause[0] == (first.seq, 1)
    operations = connection.execute("SELECT DISTINCT actor, operation FROM change").fetchall()
    assert operations == [("plugin:keeper", "keeper.note")]


async def test_what_is_said_while_it_does_not_run_is_heard_later(box: Sandbox) -> None:
    async with box.running():
        box.call("bell.ring", words=["a"])
        await box.settled()
    box.call("bell.ring", words=["b", "c"])
    assert notes(box) == ["a"]
    async with box.running():
        await box.settled()
    assert notes(box) == ["a", "b", "c"]


async def test_a_failure_leaves_nothing_and_is_tried_again_before_what_comes_after(box: Sandbox, bell: Bell) -> None:
    bell.fails = {"b": 4}
    async with box.running():
        box.call("bell.ring", words=["a", "b", "c"])
        await box.settled()
    assert notes(box) == ["a", "b", "c"]
    assert [each.data["ring"] for each in bell.heard] == ["a", *["b"] * 5, "c"]
    assert dead(box.kernel) == []


async def test_an_event_that_fails_five_times_is_parked_and_the_rest_goes_on(
    box: Sandbox, bell: Bell, caplog: pytest.LogCaptureFixture
) -> None:
    bell.fails = {"b": 5}
    with caplog.at_level(logging.WARNING):
        async with box.running():
            box.call("bell.ring", words=["a", "b", "c"])
            await box.settled()
    assert notes(box) == ["a", "c"]
    assert dead(box.kernel) == [("keeper.note", "Conflict: not b", 5)]
    assert "keeper.note parked event 2: Conflict: not b" in caplog.text


async def test_failures_are_counted_across_restarts(box: Sandbox, bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    bell.fails = {"a": 5}
    async with box.running():
        box.kernel.listeners.back_off = (0.0, 0.0, 3600.0, 3600.0)
        box.call("bell.ring", words=["a", "b"])
        while len(bell.heard) < 3:
            await asyncio.sleep(0)
    async with box.running():
        await box.settled()
    assert len(bell.heard) == 3 + 2 + 1
    assert notes(box) == ["b"]


async def test_a_loop_of_events_is_parked_with_its_way(box: Sandbox, bell: Bell) -> None:
    bell.again = ["echo"]
    async with box.running():
        box.call("bell.ring", words=["echo"])
        await box.settled()
        box.call("bell.ring", words=["still there"])
        await box.settled()
    assert notes(box) == ["echo"] * 8 + ["still there"]
    ((consumer, error, attempts),) = dead(box.kernel)
    assert (consumer, attempts) == ("keeper.note", 1)
    assert "loop" in error
    assert error.count("bell.ring.rung") == 9


async def test_it_holds_the_log_only_as_far_as_it_is_behind(box: Sandbox) -> None:
    place = "SELECT cursor, state FROM event_consumer WHERE name = 'keeper.note'"
    async with box.running():
        with box.tx() as tx:
            tx.insert(next(iter(box.kernel.registry.plugins["keeper"].domain.tables))(word="unheard"))  # type: ignore[union-attr, call-arg]
        await box.settled()
        assert box.snapshot().rows(place) == [(0, "ok")]
        box.kernel.listeners.save()
        assert box.snapshot().rows(place) == [(1, "ok")]


async def test_a_stopped_plugin_listens_no_more(box: Sandbox, bell: Bell) -> None:
    from coder_local._registry.plugins import Status

    async with box.running():
        box.kernel.registry.stop(box.kernel.registry.plugins["keeper"], Status.DISABLED, "")
        box.call("bell.ring", words=["a"])
        await box.settled()
        assert bell.heard == []


def test_what_cannot_listen_is_refused() -> None:
    domain = Domain("shop")

    def hear(tx: Transaction, *, event: Heard) -> None:
        """Hear."""

    async def wait(tx: Transaction, *, event: Heard) -> None:
        """Wait."""

    domain.listener("a.b.c")(hear)
    with pytest.raises(DeclarationError, match="twice"):
        domain.listener("a.b.c")(hear)
    with pytest.raises(DeclarationError, match="declare it with `def`"):
        domain.listener("a.b.c")(wait)  # type: ignore[type-var]
    for wrong in ((), ("",), ("A.b",), ("a.*.b",)):
        with pytest.raises(DeclarationError, match="no type of event"):
            domain.listener(*wrong)


# -- on a file, with threads ------------------------------------------------------------------------------------------


async def opened(folder: Path, bell: Bell) -> Kernel:
    kernel = Kernel(folder)
    for domain in (bell.ringer, bell.keeper):
        kernel.take(domain)
    kernel.open()
    if not kernel.store.writer.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'keeper_notes'").fetchone():
        for table in kernel.registry.tables.all():
            for statement in table.ddl():
                kernel.store.writer.connection.execute(statement)
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)
    for plugin in list(kernel.registry.plugins.values()):
        await kernel.begin(plugin)
    return kernel


async def closed(kernel: Kernel) -> None:
    await kernel.end_all()
    assert await asyncio.to_thread(kernel.store.close)


async def settled(kernel: Kernel) -> None:
    async with asyncio.timeout(30):
        while not kernel.listeners.idle or kernel.feed.head < kernel.store.bounds().head:
            await asyncio.sleep(0.005)


async def ring(kernel: Kernel, *words: str) -> None:
    import json

    from coder_local._registry.principal import OWNER

    await kernel.dispatcher.call("bell.ring", json.dumps({"words": words}).encode(), OWNER)


async def test_a_restart_goes_on_where_it_was(tmp_path: Path, bell: Bell) -> None:
    kernel = await opened(tmp_path, bell)
    told = [str(number) for number in range(600)]
    await ring(kernel, *told[:300])  # some of these are heard before the end, the rest after the restart
    await closed(kernel)
    kernel = await opened(tmp_path, bell)
    await ring(kernel, *told[300:])
    await settled(kernel)
    words = kernel.store.read(lambda scope: scope.rows("SELECT word FROM keeper_notes ORDER BY id"), listeners.Caller())
    await closed(kernel)
    assert [word for (word,) in words] == told


@pytest.mark.alone
async def test_one_that_takes_too_long_is_found_and_parked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    monkeypatch.setattr(listeners, "DEADLINE", 0.2)

    @bell.keeper.listener("bell.*")
    def slow(tx: Transaction, *, event: Heard) -> None:
        """Hang at one of them."""
        if event.data["ring"] == "b":
            end = time.monotonic() + 30
            while time.monotonic() < end:
                pass

    kernel = await opened(tmp_path, bell)
    kernel.listeners.back_off = (0.0,) * 4
    kernel.dispatcher.sweep()

    async def strike() -> None:
        while True:
            await asyncio.sleep(0.05)
            kernel.store.writer.stop_overdue()

    striking = asyncio.create_task(strike())
    await ring(kernel, "a", "b", "c")
    await settled(kernel)
    striking.cancel()
    await kernel.dispatcher.stop_tasks()
    found = dead(kernel)
    place = kernel.store.writer.connection.execute("SELECT min(cursor) FROM event_consumer").fetchone()[0]
    await closed(kernel)
    assert [(row[0], row[2]) for row in found] == [("keeper.slow", 5)]
    assert place >= 3


# -- start and stop ---------------------------------------------------------------------------------------------------


async def test_start_and_stop_run_once_around_the_work_and_can_still_write() -> None:
    domain, ran = Domain("pump"), list[str]()

    @domain.on_start
    async def start(ctx: Context) -> None:
        ran.append(f"start {await ctx.transact(lambda tx: tx.number('n'))}")

    @domain.on_stop
    async def stop(ctx: Context) -> None:
        ran.append(f"stop {await ctx.transact(lambda tx: tx.number('n'))} {ctx.actor}")

    with sandbox(domain) as box:
        async with box.running():
            assert ran == ["start 1"]
        assert ran == ["start 1", "stop 2 plugin:pump"]
        async with box.running():
            pass
        assert len(ran) == 4


async def test_a_fault_in_start_or_stop_is_told_in_the_sandbox() -> None:
    domain = Domain("pump")

    @domain.on_stop
    async def stop(ctx: Context) -> None:
        raise ZeroDivisionError

    with sandbox(domain) as box, pytest.raises(ZeroDivisionError):
        async with box.running():
            pass
    with pytest.raises(DeclarationError, match="async def"):
        domain.on_stop(lambda ctx: None)  # type: ignore[arg-type, return-value]

    @domain.on_start
    async def start(ctx: Context) -> None:
        raise ZeroDivisionError

    with sandbox(domain) as box, pytest.raises(DeclarationError, match="ZeroDivisionError"):
        async with box.running():
            raise AssertionError("not reached")
