"""What may be asked of output: a page of it, or everything of a run as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from coder_local.api import Context, Id, Invalid, NotFound, Snapshot
from coder_plugins.execution.records import StepKey, domain
from coder_plugins.execution.runs.records import Attempt

from .records import PAGE, LogPage, Said

Offset = Annotated[int, Meta(ge=0)]


@domain.query("execution.logs")
def logs(
    read_: Snapshot,
    *,
    run: Id,
    step: StepKey,
    attempt: Annotated[int, Meta(ge=1)] | None = None,
    offset: Offset = 0,
    limit: Annotated[int, Meta(ge=1, le=1_048_576)] = PAGE,
) -> LogPage:
    """Return output of one step from an offset on, about `limit` bytes of it; without `attempt` of the last one."""
    where = "run = :run AND key = :key AND (:n IS NULL OR n = :n)"
    found = read_.select(Attempt, where, order="n DESC", limit=1, run=run, key=step, n=attempt)
    if not found:
        raise NotFound(f"step {step!r} of run {run} has no such attempt", field="/step", hint="see execution.runs.get")
    from .adapters import reading  # noqa: PLC0415 - 25 ms with the processes, and no output is read at start

    last = found[0]
    try:
        pieces, after = reading.pieces(read_.folder, last, offset, limit)
    except ValueError as error:
        raise Invalid(
            "no piece of output begins at this offset", field="/offset", hint="give the offset of the page before"
        ) from error
    ended = last.ended_at is not None
    return LogPage(run=run, step=step, attempt=last.n, items=pieces, offset=after, ended=ended)


@domain.stream("execution.runs.follow")
async def follow(
    ctx: Context, *, id: Id, cursor: Annotated[str, Meta(max_length=1_000_000)] | None = None
) -> AsyncIterator[Said]:
    """Follow a run to its end: what becomes of it and its steps, and their output as it comes.

    Each item has a cursor; given again, it goes on after that item, and nothing is missed or told twice.
    """
    from .adapters.following import Following  # noqa: PLC0415 - see above

    async for item in Following(ctx, id, cursor).items():
        yield item
