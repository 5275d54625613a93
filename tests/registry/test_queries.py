"""Queries on the reader's thread: each is answered in its time, whatever it does and whatever stands before it."""

from __future__ import annotations

import asyncio

from .probe import Probe


async def test_a_query_of_many_short_reads_stops_at_its_deadline(probe: Probe) -> None:
    spinning, following = probe.ask("probe.spin"), probe.ask("probe.ask", mode="ok")
    error = await spinning.error()
    assert (error.kind, error.message) == ("timeout", "probe.spin took longer than 0.2 s and was stopped")
    assert await following.answer() == "ok"
    assert probe.ended == ["spin"]
    assert len(spinning.answers) == 1


async def test_a_query_that_loops_in_python_is_stopped_and_the_reader_goes_on(probe: Probe) -> None:
    looping, following = probe.ask("probe.loop"), probe.ask("probe.ask", mode="ok")
    error = await looping.error()
    assert (error.kind, error.message) == ("timeout", "probe.loop took longer than 0.2 s and was stopped")
    assert await following.answer() == "ok"
    assert probe.ended == ["loop"]
    cancelled = probe.ask("probe.loop")
    assert cancelled.cancel is not None
    cancelled.cancel()
    assert (await cancelled.error()).data == {"cancelled": True}
    assert await probe.ask("probe.ask", mode="ok").answer() == "ok"


async def test_a_query_that_waits_behind_a_long_one_gets_its_timeout(probe: Probe) -> None:
    holding = probe.ask("probe.hold_read")
    await asyncio.to_thread(probe.held.wait, 10)
    waiting = probe.ask("probe.brief")
    error = await waiting.error()
    assert (error.kind, error.message) == ("timeout", "probe.brief took longer than 0.1 s and was stopped")
    assert not holding.answers
    probe.release.set()
    assert await holding.answer() == "held"
    assert await probe.ask("probe.ask", mode="ok").answer() == "ok"
    assert probe.ran == []
    assert len(waiting.answers) == 1


async def test_a_cancelled_query_is_answered_though_it_does_not_end(probe: Probe) -> None:
    holding = probe.ask("probe.hold_read")
    await asyncio.to_thread(probe.held.wait, 10)
    assert holding.cancel is not None
    holding.cancel()
    error = await holding.error()
    assert (error.kind, error.data) == ("timeout", {"cancelled": True})
    assert not probe.release.is_set()
