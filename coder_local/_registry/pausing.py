"""Letting a plugin come to rest while its content is exchanged: new calls wait, and those under way end first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from coder_local.api import Kind, TimedOut

from .answers import cancelled
from .dispatch import Dispatcher
from .held import AllBut, Held

DRAIN = 30.0
"""Seconds that calls under way have to end; then actions are stopped. Most have a shorter deadline of their own."""
UNWIND = 3.0
"""Seconds that actions which were stopped have to unwind."""


@asynccontextmanager
async def at_rest(dispatcher: Dispatcher, domain: str) -> AsyncGenerator[None]:
    """Hold back the calls of a domain, wait until those under way have ended, and begin the held ones after the block.

    Calls made inside another one are not held back, or that one could not end. A stream ends at once: it may have no
    end of its own. Nothing is held before the plugins are loaded, when all calls are already.
    """
    dispatcher.held = held = Held(
        AllBut(domain), dispatcher.start, lambda call: call.answer(None, cancelled(call.name)), inner=False
    )
    try:
        dispatcher.cut(domain, Kind.STREAM, _stopped(domain))
        if not await _quiet(dispatcher, domain, DRAIN):
            dispatcher.cut(domain, Kind.ACTION, _stopped(domain))
            await _quiet(dispatcher, domain, UNWIND)
        yield
    finally:
        if dispatcher.held is held:  # the daemon may have begun to stop meanwhile, and released them
            dispatcher.release()


def _stopped(domain: str) -> TimedOut:
    return TimedOut(
        f"the plugin of {domain} is being reloaded, and this call was stopped",
        hint="call it again",
        data={"cancelled": True, "reloaded": True},
    )


async def _quiet(dispatcher: Dispatcher, domain: str, seconds: float) -> bool:
    end = dispatcher.loop.time() + seconds
    while dispatcher.under_way(domain):
        if dispatcher.loop.time() > end:
            return False
        await asyncio.sleep(0.01)
    return True
