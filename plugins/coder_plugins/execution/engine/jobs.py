"""What runs by itself: the engine, from the start of the daemon to its stop, and the clearing up of old files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coder_local.api import Context
from coder_plugins.execution.records import domain

if TYPE_CHECKING:
    from .engine import Engine

_engines: dict[Path, Engine] = {}
"""One for each data directory: a process of tests may have several."""


@domain.on_start
async def start(ctx: Context) -> None:
    """Start the engine."""
    from .engine import Engine  # noqa: PLC0415 - 35 ms, which the first answer of the daemon must not wait for

    engine = Engine(ctx)
    await engine.start()
    _engines[ctx.folder] = engine


@domain.on_stop
async def stop(ctx: Context) -> None:
    """Stop the engine; what goes on without it is left running."""
    engine = _engines.pop(ctx.folder, None)
    if engine is not None:
        await engine.stop()


def engine_of(folder: Path) -> Engine | None:
    """Return the engine of a data directory, if it runs."""
    return _engines.get(folder)
