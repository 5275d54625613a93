from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel

from .probe import Probe


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    """A kernel on a real file, with its writer and its reader on threads of their own and answers on this loop."""
    kernel = Kernel(tmp_path)
    made = Probe(kernel)
    kernel.take(made.domain)
    kernel.take(made.other)
    kernel.open()
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)
    yield made
    made.release.set()
    await kernel.dispatcher.stop_tasks()
    assert await asyncio.to_thread(kernel.store.close)
