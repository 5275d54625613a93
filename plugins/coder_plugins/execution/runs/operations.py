"""What may be asked of runs: start one, look at it, and what was recorded of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Duration, FilePath, Id, Invalid, NotFound, Safety, Snapshot, Title, Transaction
from coder_plugins.execution.definitions.records import PARALLEL, Body, Definition, Inputs, Parallel, Steps
from coder_plugins.execution.definitions.rules import LONGEST_S, seconds_of, unfold
from coder_plugins.execution.engine.jobs import engine_of
from coder_plugins.execution.machine.making import NewRun, above, make
from coder_plugins.execution.records import StepKey, Word, domain

from .records import Reference, RunKind, Signal, Wait
from .rules import (
    MOVES,
    PAGE,
    Cursor,
    Limit,
    Moving,
    Recorded,
    RunAnswer,
    RunView,
    StepView,
    agreed,
    checked_steps,
    find_run,
    find_step,
    recorded,
    refuse_only,
    steps_of,
)

SHOWN = 500
"""Waits, and signals, that one answer has; all waits are listed with execution.waits.list."""


@domain.command("execution.start", emits=MOVES, safety=Safety.DESTRUCTIVE)
def start(
    tx: Transaction,
    *,
    steps: Steps,
    name: Title = "run",
    kind: RunKind = "other",
    inputs: Inputs | None = None,
    folder: FilePath | None = None,
    mode: Literal["live", "dry"] = "live",
    parallel: Parallel = PARALLEL,
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0,
    concurrency_key: Word | None = None,
    only: list[StepKey] | None = None,
    deadline: Duration | None = None,
    external: bool = False,
    source_ref: Reference | None = None,
    approved_hash: Annotated[str, Meta(max_length=64)] | None = None,
) -> RunAnswer:
    """Start a run of some steps: the whole graph is on disk before the first of them begins.

    Everything that is wrong with the steps is told at once, and nothing runs. With `approved_hash` it is refused unless
    the steps are exactly those that have that hash. The steps run with the caller's rights; to start them is to agree
    to what is destructive, and with `external` to what leaves this machine or spends money, which is refused without.
    """
    folder = _folder(folder)
    checked = checked_steps(tx, steps, inputs, folder, parallel, approved_hash)
    refuse_only(unfold(steps), only or [])
    _refuse_deadline(deadline)
    with Moving(tx) as moves:
        parent, parent_step = above(moves)
        live = make(
            moves,
            NewRun(
                body=Body(steps=unfold(steps), parallel=parallel),
                name=name,
                rights=agreed(tx.rights(), checked, external=external or mode == "dry"),
                kind=kind,
                source_ref=source_ref,
                mode=mode,
                inputs=inputs or {},
                folder=folder,
                priority=priority,
                concurrency_key=concurrency_key,
                only=only or [],
                deadline=deadline,
                parent=parent,
                parent_step=parent_step,
            ),
        )
    return RunAnswer(run=live.run)


def _refuse_deadline(deadline: str | None) -> None:
    """Raise `Invalid` for a deadline of no time, and of more than 30 days."""
    if deadline is None:
        return
    seconds = seconds_of(deadline)
    if not 0 < seconds <= LONGEST_S:
        hint = "at most P30D" if seconds else "0 is not for ever: leave it out for no deadline"
        raise Invalid(f"the deadline of a run cannot be {deadline}", field="/deadline", hint=hint)


def _folder(folder: str | None) -> str | None:
    """Return the folder of a run in full. Raises `Invalid` if there is none."""
    if folder is None:
        return None
    path = Path(folder).expanduser()
    if not path.is_absolute():
        raise Invalid(f"{folder} is a relative path", field="/folder", hint="give the whole path of the folder")
    if not path.is_dir():
        raise Invalid(f"{folder} is no folder", field="/folder", hint="name a folder that exists")
    return str(path.resolve())


@domain.query("execution.runs.get")
def get(read: Snapshot, *, id: Id, limit: Limit = PAGE, cursor: Cursor | None = None) -> RunView:
    """Return one run with a page of its steps and what it waits for."""
    run = find_run(read, id)
    steps, next_cursor = steps_of(read, id, cursor, limit)
    waits = read.select(Wait, "run = :run AND status = 'open'", limit=SHOWN, run=id)
    counts = read.rows(
        "SELECT status, count(*) FROM execution_steps WHERE run = :run AND deleted_at IS NULL GROUP BY status", run=id
    )
    engine = engine_of(read.folder)
    trouble = None if engine is None else engine.trouble
    return RunView(run=run, steps=steps, next_cursor=next_cursor, waits=waits, counts=dict(counts), trouble=trouble)


@domain.query("execution.runs.record")
def record(
    read: Snapshot, *, id: Id, step: StepKey | None = None, limit: Limit = PAGE, cursor: Cursor | None = None
) -> Recorded:
    """Return what happened in a run, a page of its steps: each attempt with its input, facts, effect and result."""
    run = find_run(read, id)
    steps, next_cursor = steps_of(read, id, cursor, limit, key=step, record=True)
    where = "run = :run AND key IN (SELECT value FROM json_each(:keys))"
    waits = read.select(Wait, where, order="id", run=id, keys=[each.key for each in steps])
    signals = [] if cursor else read.select(Signal, "run = :run", order="id", limit=SHOWN, run=id)
    return Recorded(
        run=run,
        steps=recorded(read, id, steps),
        next_cursor=next_cursor,
        waits=waits,
        signals=signals,
    )


@domain.query("execution.steps.get")
def get_step(read: Snapshot, *, run: Id, step: StepKey) -> StepView:
    """Return one step of a run with its attempts."""
    (found,) = recorded(read, run, [find_step(read, run, step)])
    return found


@domain.query("execution.runs.definition")
def definition(read: Snapshot, *, id: Id) -> Body:
    """Return the steps that a run is held to, as they were when it started."""
    found = read.find(Definition, find_run(read, id).definition)
    if found is None:
        raise NotFound("the steps of this run are not kept any more", field="/id")
    return found.body
