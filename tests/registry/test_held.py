"""Calls that come before the plugins are loaded wait for them, in their order."""

from __future__ import annotations

from .probe import Probe


async def test_calls_wait_for_release_in_their_order_and_those_named_do_not(probe: Probe) -> None:
    dispatcher = probe.kernel.dispatcher
    dispatcher.hold("probe.ask")
    held = [probe.ask("probe.do", mode="ok"), probe.ask("probe.nothing"), probe.ask("probe.do", mode="ok")]
    assert await probe.ask("probe.ask", mode="ok").answer() == "ok"
    assert [each.answers for each in held] == [[], [], []]
    dispatcher.release()
    assert await held[0].answer() == "ok"
    assert (await held[1].error()).kind == "not_found"
    assert await held[2].answer() == "ok"
    assert probe.ran == ["ok", "ok"]
    assert await probe.ask("probe.do", mode="ok").answer() == "ok"


async def test_a_call_that_waits_can_be_cancelled_and_never_runs(probe: Probe) -> None:
    dispatcher = probe.kernel.dispatcher
    dispatcher.hold()
    held, begun = probe.ask("probe.do"), probe.ask("probe.act", mode="wait")
    assert held.cancel is not None
    assert begun.cancel is not None
    held.cancel()
    assert (await held.error()).data == {"cancelled": True}
    dispatcher.release()
    await probe.began.wait()
    begun.cancel()
    assert (await begun.error()).data == {"cancelled": True}
    assert probe.ran == []


async def test_calls_that_wait_when_the_daemon_stops_are_answered(probe: Probe) -> None:
    dispatcher = probe.kernel.dispatcher
    dispatcher.hold()
    held = probe.ask("probe.do")
    dispatcher.closing = True
    dispatcher.release()
    assert (await held.error()).kind == "locked"
    assert probe.ran == []
