"""A command that comes back over its deadline has written nothing."""

from __future__ import annotations

from .probe import Probe


async def test_what_comes_back_over_its_deadline_is_rolled_back(probe: Probe) -> None:
    error = await probe.ask("probe.sluggish", seconds=0.15).error()
    assert (error.kind, error.message) == (
        "timeout",
        "it took longer than its deadline and was rolled back: nothing was written",
    )
    assert await probe.ask("probe.sluggish").answer() == 1
