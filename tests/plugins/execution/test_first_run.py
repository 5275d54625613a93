"""The engine takes up memory from the first run on, or from the start of a daemon that finds open runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.principal import OWNER
from coder_plugins.execution.engine.jobs import engine_of
from coder_plugins.execution.machine import live


@contextlib.asynccontextmanager
async def kernel(folder: Path) -> AsyncIterator[Kernel]:
    """Open a kernel with its writer thread, and begin its plugins as a daemon does."""
    opened = Kernel(folder)
    opened.load([Plugin(name, Source.BUNDLED, f"coder_plugins.{name}") for name in ("planning", "execution")])
    opened.open()
    loop = asyncio.get_running_loop()
    opened.start(loop.call_soon_threadsafe, loop.call_soon)
    try:
        for plugin in opened.registry.plugins.values():
            await opened.begin(plugin)
        yield opened
    finally:
        await opened.end_all()
        await asyncio.to_thread(opened.store.close)


async def ask(kernel: Kernel, name: str, /, **input: Any) -> Any:
    return msgspec.json.decode(await kernel.dispatcher.call(name, msgspec.json.encode(input), OWNER))


def has_engine(kernel: Kernel) -> bool:
    return engine_of(kernel.dispatcher.context("execution", "execution").folder) is not None


async def engine(kernel: Kernel) -> None:
    async with asyncio.timeout(10):
        while not has_engine(kernel):
            await asyncio.sleep(0.01)


async def until(kernel: Kernel, run: str, status: str) -> None:
    async with asyncio.timeout(10):
        while (await ask(kernel, "execution.runs.get", id=run))["run"]["status"] != status:
            await asyncio.sleep(0.01)


async def test_the_engine_starts_with_the_first_run_and_with_open_ones(tmp_path: Path) -> None:
    wait = {"key": "go", "kind": "signal", "input": {"name": "go"}}
    read = {"key": "read", "kind": "operation", "input": {"operation": "planning.projects.list"}, "needs": ["go"]}
    async with kernel(tmp_path) as first:
        assert not has_engine(first)
        run = (await ask(first, "execution.start", steps=[wait, read]))["run"]["id"]
        await until(first, run, "waiting")
        await engine(first)
    live.forget()
    async with kernel(tmp_path) as second:
        await engine(second)
        await ask(second, "execution.runs.signal", id=run, name="go")
        await until(second, run, "succeeded")
    async with kernel(tmp_path) as third:
        assert not has_engine(third)


async def test_a_daemon_without_runs_stops_at_once(tmp_path: Path) -> None:
    async with asyncio.timeout(5):
        async with kernel(tmp_path) as opened:
            assert not has_engine(opened)
