"""What runs by itself: the engine, from the start of the daemon, or its first run, to its stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from coder_local.api import Context, Snapshot, Stale, Subscription
from coder_plugins.execution.records import domain

if TYPE_CHECKING:
    from .engine import Engine

_log = logging.getLogger("coder_local.execution")
_AGAIN_S = 5.0
_engines: dict[Path, Engine] = {}
"""One for each data directory: a process of tests may have several."""
_starting: dict[Path, asyncio.Task[None]] = {}


@domain.on_start
async def start(ctx: Context) -> None:
    """Have the engine started: now if a run is open, else at the first one, for it takes up memory.

    Neither is waited for: it judges what an earlier start left, which may be thousands of runs.
    """
    queued = ctx.subscribe("execution.run.queued")
    waits = not await ctx.read(_any_open)
    _starting[ctx.folder] = asyncio.create_task(_start(ctx, queued, waits=waits), name="execution: start")


@domain.on_stop
async def stop(ctx: Context) -> None:
    """Stop the engine; what goes on without it is left running."""
    starting = _starting.pop(ctx.folder, None)
    if starting is not None:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
    engine = _engines.pop(ctx.folder, None)
    if engine is not None:
        await engine.stop()


def engine_of(folder: Path) -> Engine | None:
    """Return the engine of a data directory, if it runs."""
    return _engines.get(folder)


def _any_open(read: Snapshot) -> bool:
    return bool(
        read.rows(
            "SELECT 1 FROM execution_runs WHERE status > '' AND finished_at IS NULL AND deleted_at IS NULL LIMIT 1"
        )
    )


async def _start(ctx: Context, queued: Subscription, *, waits: bool) -> None:
    with queued:
        if waits and not await _is_heard(queued):
            return
    with ctx.at_work():  # the engine itself keeps the daemon from stopping from then on
        while True:
            try:
                await _start_engine(ctx)
            except Exception:  # noqa: BLE001 - the runs are on disk, and what is in the way now may not be soon
                _log.exception("the engine could not start; it is tried again")
                await asyncio.sleep(_AGAIN_S)
            else:
                return


async def _is_heard(queued: Subscription) -> bool:
    """Wait for a run; False when nothing will be said any more, for the daemon stops."""
    try:
        async for _ in queued:
            return True
    except Stale:  # of so much that was said some may be of a run
        return True
    return False


async def _start_engine(ctx: Context) -> None:
    # 35 ms, which neither the first answer of the daemon nor whoever else asks it meanwhile must wait for
    await asyncio.to_thread(importlib.import_module, f"{__package__}.engine")
    from .engine import Engine  # noqa: PLC0415 - imported above

    engine = _engines[ctx.folder] = Engine(ctx)  # before its start: a stop meanwhile must find what it has begun
    try:
        await engine.start()
    except Exception:
        del _engines[ctx.folder]
        await engine.stop()
        raise
