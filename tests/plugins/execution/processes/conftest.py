"""Starting commands in folders of their own, and leaving none behind."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

from coder_plugins.execution.processes import Child, Command, LaunchError, read_frames, start

PYTHON = sys.executable


class Commands:
    """Starts commands, each in a new folder of an attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []

    async def start(self, *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None, **options) -> Child:
        attempt = self.new_attempt()
        command = Command(
            argv=argv,
            cwd=self.folder if cwd is None else cwd,
            env={"PATH": os.environ["PATH"]} if env is None else env,
            **options,
        )
        child = await start(attempt, command)
        self.children.append(child)
        return child

    async def python(self, code: str, *arguments: str, **options) -> Child:
        return await self.start(PYTHON, "-I", "-S", "-c", code, *arguments, **options)

    async def refused(self, *argv: str, **options) -> LaunchError:
        with pytest.raises(LaunchError) as caught:
            await self.start(*argv, **options)
        return caught.value

    def new_attempt(self) -> Path:
        attempt = self.folder / f"attempt-{len(list(self.folder.glob('attempt-*')))}"
        attempt.mkdir()
        return attempt


@pytest.fixture
async def commands(tmp_path):
    made = Commands(tmp_path)
    yield made
    for child in made.children:
        with contextlib.suppress(Exception):
            await child.stop(0)
        await child.detach()


def output(child: Child, stream: int | None = None) -> bytes:
    """Return what the log holds of a stream, or of both in their order."""
    frames, _ = read_frames(child.folder / "log", limit=1 << 40)
    return b"".join(frame.data for frame in frames if stream in (None, frame.stream) and not frame.dropped)


async def said(child: Child, text: bytes) -> None:
    """Wait until a command has said something."""
    import asyncio

    while text not in output(child):
        assert not (child.folder / "exit.json").exists(), output(child)
        await asyncio.sleep(0.01)
