"""Starting and stopping a plugin: one after the other, also when it is told to stop while it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from coder_local._registry import kernel as kernels
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin
from coder_local.api import Context, Domain


class Slow:
    """A plugin that starts until it is let go, also when it is cancelled, and writes down what it does."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.began, self.let_go = asyncio.Event(), asyncio.Event()
        self.domain = Domain("slow")

        @self.domain.on_start
        async def start(ctx: Context) -> None:
            """Begin, and take long over it."""
            self.began.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.did.append("unwinds")
                await self.let_go.wait()
                self.did.append("started")

        @self.domain.on_stop
        async def stop(ctx: Context) -> None:
            """Write down that it was stopped."""
            self.did.append("stopped")


@pytest.fixture
async def kernel() -> AsyncIterator[Kernel]:
    kernel = Kernel()
    kernel.open()
    yield kernel
    assert kernel.store.close()


async def started(kernel: Kernel, slow: Slow) -> tuple[Plugin, asyncio.Task[None]]:
    plugin = kernel.take(slow.domain)
    beginning = asyncio.get_running_loop().create_task(kernel.begin(plugin))
    await slow.began.wait()
    return plugin, beginning


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_plugin_is_not_stopped_before_its_start_has_come_to_its_end(kernel: Kernel, *, cancelled: bool) -> None:
    slow = Slow()
    plugin, beginning = await started(kernel, slow)
    assert plugin.at_work.startswith("it has been starting for ")
    if cancelled:  # as the daemon does when it stops; `plugins.disable` only ends
        beginning.cancel()
    ending = asyncio.get_running_loop().create_task(kernel.end(plugin))
    while "unwinds" not in slow.did:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert slow.did == ["unwinds"]
    slow.let_go.set()
    assert await ending == []
    assert slow.did == ["unwinds", "started", "stopped"]
    assert (await asyncio.gather(beginning, return_exceptions=True) == [None]) is not cancelled
    assert plugin.at_work == ""


async def test_a_start_that_does_not_end_is_not_waited_for_for_ever(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernels, "UNWIND_DEADLINE", 0.05)
    slow = Slow()
    plugin, beginning = await started(kernel, slow)
    with caplog.at_level(logging.ERROR):
        assert await kernel.end(plugin) == []
    assert slow.did == ["unwinds", "stopped"]
    assert "the start of plugin slow does not end" in caplog.text
    slow.let_go.set()
    await beginning
    assert slow.did == ["unwinds", "stopped", "started"]
