"""Streams: a daemon that stops does not wait for one that may never end."""

from __future__ import annotations

import asyncio

from .probe import Probe


async def test_a_stream_is_not_waited_for_as_work_that_comes_to_an_end(probe: Probe) -> None:
    dispatcher = probe.kernel.dispatcher
    following = probe.ask("probe.follow", mode="wait")
    await probe.began.wait()
    assert (dispatcher.busy, dispatcher.streams) == (0, 1)
    acting = probe.ask("probe.act", mode="wait")
    assert (dispatcher.busy, dispatcher.streams) == (1, 1)
    await asyncio.sleep(0)
    await dispatcher.stop_tasks()
    assert (dispatcher.busy, dispatcher.streams) == (0, 0)
    for asked in (following, acting):
        assert (await asked.error()).kind == "timeout"
