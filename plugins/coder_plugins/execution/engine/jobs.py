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
_waiting: dict[Path, asyncio.Task[None]] = {}


@domain.on_start
async def start(ctx: Context) -> None:
    """Start the engine if a run is open, else wait for the first one: until then it would only take up memory."""
    queued = ctx.subscribe("execution.run.queued")
    if await ctx.read(_any_open):
        queued.close()
        await _start_engine(ctx)
    else:
        _waiting[ctx.folder] = asyncio.create_task(_at_first_run(ctx, queued), name="execution: first run")


@domain.on_stop
async def stop(ctx: Context) -> None:
    """Stop the engine; what goes on without it is left running."""
    waiting = _waiting.pop(ctx.folder, None)
    if waiting is not None:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
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


async def _at_first_run(ctx: Context, queued: Subscription) -> None:
    with queued, contextlib.suppress(Stale):  # of so much that was said some may be of a run
        await anext(queued)
    while True:
        try:
            await _start_engine(ctx)
        except Exception:  # noqa: BLE001 - the run is on disk, and what is in the way now may not be soon
            _log.exception("the engine could not start; it is tried again")
            await asyncio.sleep(_AGAIN_S)
        else:
            return


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
