from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coder_local._daemon.core import core_domains, granted_plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin
from coder_local._registry.principal import OWNER, Principal
from coder_local._store.clock import FakeClock
from coder_local.api import Error

NOTES = Path(__file__).parents[2] / "support" / "notes"


class Core:
    """A kernel with the core's operations, and a caller."""

    def __init__(self, kernel: Kernel, principal: Principal = OWNER) -> None:
        self.kernel = kernel
        self.principal = principal

    async def call(self, name: str, /, **input: Any) -> Any:
        body = await self.kernel.dispatcher.call(name, msgspec.json.encode(input), self.principal)
        return msgspec.json.decode(body)

    async def refused(self, name: str, /, **input: Any) -> Error:
        with pytest.raises(Error) as caught:
            await self.call(name, **input)
        return caught.value

    def as_agent(self) -> Core:
        return Core(self.kernel, Principal(actor="agent:helper", owner=False))

    async def plugin(self, name: str) -> dict[str, Any]:
        return next(each for each in (await self.call("plugins.list"))["items"] if each["name"] == name)


@asynccontextmanager
async def running(folder: Path | None, *bundled: Plugin) -> AsyncIterator[Core]:
    """A kernel as the daemon starts it; in memory without a folder."""
    kernel = Kernel(folder, clock=FakeClock() if folder is None else None)
    for domain in core_domains(kernel):
        assert kernel.take(domain).loaded
    kernel.load(bundled)
    kernel.open(granted_plugins)
    if folder is not None:
        kernel.start(asyncio.get_running_loop().call_soon_threadsafe)
    try:
        yield Core(kernel)
    finally:
        await kernel.dispatcher.stop_tasks()
        assert await asyncio.to_thread(kernel.store.close)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
async def memory() -> AsyncIterator[Core]:
    async with running(None) as core:
        yield core


@pytest.fixture
async def disk(data_dir: Path) -> AsyncIterator[Core]:
    async with running(data_dir) as core:
        yield core


@pytest.fixture
def put_notes(data_dir: Path) -> Callable[[], Path]:
    """Puts the notes plugin into the plugin folder."""

    def put() -> Path:
        folder = data_dir / "plugins" / "notes"
        shutil.copytree(NOTES, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    return put


@pytest.fixture
async def notes(disk: Core, put_notes: Callable[[], Path]) -> Core:
    """The kernel on disk with the notes plugin enabled."""
    put_notes()
    assert (await disk.call("plugins.enable", name="notes"))["status"] == "loaded"
    return disk
