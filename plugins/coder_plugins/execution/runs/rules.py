"""Finding what a caller means, and what he is answered."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from coder_local.api import Conflict, Fault, Invalid, NotFound, Refused, Rights, Safety, Snapshot, Transaction, Value
from coder_plugins.execution.definitions.records import Checked, Inputs, StepSpec
from coder_plugins.execution.definitions.rules import check, kinds_of
from coder_plugins.execution.machine.faults import RunFault
from coder_plugins.execution.machine.live import Moves
from coder_plugins.execution.machine.settling import settle
from coder_plugins.execution.records import ExecutionSettings, refuse
from coder_plugins.execution.rules.expansion import of_list, of_matrix

from .records import (
    ApprovalDecided,
    ApprovalRequested,
    Attempt,
    Run,
    RunCancelled,
    RunChanged,
    RunFinished,
    RunForked,
    RunPaused,
    RunQueued,
    RunResumed,
    RunStarted,
    Signal,
    SignalReceived,
    Step,
    StepFinished,
    StepWaiting,
    Wait,
)

MOVES = (
    RunQueued, RunStarted, RunFinished, RunChanged, RunForked, RunCancelled, RunPaused, RunResumed, StepFinished,
    StepWaiting, ApprovalRequested, ApprovalDecided, SignalReceived,
)  # fmt: skip
"""What a transition may say."""

PAGE = 200
PAGE_BYTES = 1024 * 1024
"""Bytes of output and input after which a page ends."""

Limit = Annotated[int, Meta(ge=1, le=500, description="Steps on the page; it ends earlier after 1 MiB of outputs.")]
Cursor = Annotated[str, Meta(max_length=400, description="`next_cursor` of the page before.")]


class StepView(Value):
    """One step of a run, with its attempts: the flight recorder."""

    step: Step
    attempts: list[Attempt]


class RunView(Value):
    """One run with all that is known of it."""

    run: Run
    steps: list[Step]
    """A page of them in order; those of a fan-out after all that were written."""
    next_cursor: str | None
    """Give it as `cursor` to get the next page of steps; null at the end."""
    waits: list[Wait]
    """What it waits for, open ones only, at most 500."""
    counts: dict[str, int]
    """How many steps have each status."""
    trouble: str | None
    """Why nothing can be written now, a full disk for example; what has ended meanwhile is kept, and written later."""


class Recorded(Value):
    """What happened in a run, step by step."""

    run: Run
    steps: list[StepView]
    """A page of them in order."""
    next_cursor: str | None
    """Give it as `cursor` to get the next page of steps; null at the end."""
    waits: list[Wait]
    """Of these steps."""
    signals: list[Signal]
    """On the first page all of the run, at most 500."""


class RunAnswer(Value):
    """A run after what was asked."""

    run: Run


class Forked(Value):
    """A run that was made from another one."""

    run: Run
    reused: list[str]
    """Keys of the steps whose results were taken over, in order."""


class WaitAnswer(Value):
    """A decision, and the run after it."""

    approval: Wait
    run: Run


class Moving(Moves):
    """The transitions that one command makes; what follows from them is settled before they are written.

    Its caller does not wait for thousands of steps to be made, and the turn that makes them writes each as begun.
    """

    expands = False

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx, kinds_of(tx))

    def save(self) -> None:
        """Settle, then write what was moved. What fails at that fails the command, and no run is set aside for it."""
        try:
            settle(self)
            super().save()
        except RunFault as fault:
            raise fault.error from fault


def find_run(read: Snapshot, id: str) -> Run:
    """Return a run. Raises `NotFound`, and says how long runs are kept."""
    try:
        return read.get(Run, id)
    except NotFound as error:
        settings = read.settings(ExecutionSettings)
        kept = [f"for {settings.keep_runs_days} days"] if settings.keep_runs_days else []
        kept += [f"until {settings.keep_runs} newer ones have ended"] if settings.keep_runs else []
        hint = f"{error.hint}; runs that have ended are kept {' and '.join(kept)}" if kept else error.hint
        raise NotFound(error.message, field="/id", hint=hint, data=error.data) from None


def find_wait(read: Snapshot, id: str) -> Wait:
    """Return a wait that a person decides. Raises `NotFound`."""
    found = read.find(Wait, id)
    if found is None or found.kind not in {"approval", "decision"}:
        raise NotFound(
            f"no approval with id {id!r}", field="/id", hint="look approvals up with execution.waits.list kind=approval"
        )
    return found


def find_step(read: Snapshot, run: str, key: str) -> Step:
    """Return a step of a run. Raises `NotFound`."""
    found = read.find(Step, f"{run}/{key}")
    if found is None:
        raise NotFound(
            f"run {run} has no step {key!r}", field="/step", hint="look its steps up with execution.runs.get"
        )
    return found


def grace_of(seconds: float | None) -> int | None:
    """Return a grace as it is kept. Raises `Invalid` for one below 0."""
    if seconds is None:
        return None
    if not 0 <= seconds <= 3_600:
        raise Invalid("grace is 0 to 3600 seconds", field="/grace", hint="leave it out for the usual 10")
    return round(seconds * 1000)


def agreed(rights: Rights, checked: Checked, *, external: bool) -> Rights:
    """Return the rights of a caller with what he agreed to: what is destructive, and more only if he said so.

    Raises `Refused` where a step is known to be more; one whose word hangs on a value is looked at when it begins.
    """
    words = (*rights.confirmed, Safety.DESTRUCTIVE, *((Safety.EXTERNAL,) if external else ()))
    beyond = [each.key for each in checked.steps if each.safety == Safety.EXTERNAL and each.effect is not None]
    if beyond and Safety.EXTERNAL not in words:
        raise Refused(
            f"{', '.join(beyond[:10])} would leave this machine or spend money, and nobody agreed to that",
            field="/external",
            hint="start it with external: true, which is then confirmed with it",
            data={"rule": "safety", "safety": str(Safety.EXTERNAL), "steps": beyond},
        )
    return msgspec.structs.replace(rights, confirmed=tuple(dict.fromkeys(words)))


def refuse_only(steps: list[StepSpec], only: list[str]) -> None:
    """Raise `Invalid` if a step that alone is to run is none that a fan-out becomes, as far as that is known."""
    known: list[str] = []
    open_: list[str] = []
    for step in steps:
        if step.matrix is not None:
            known += (item.key for item in of_matrix(step.key, step.matrix))
        elif isinstance(step.foreach, list):
            known += (item.key for item in of_list(step.key, step.foreach))
        elif step.foreach is not None:
            open_.append(f"{step.key}[")
    for index, key in enumerate(only):
        if key not in known and not key.startswith(tuple(open_)):
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:20]) or 'none'}"
            raise Invalid(f"{key} is no step of a fan-out", field=f"/only/{index}", hint=hint)


def checked_steps(
    tx: Transaction,
    steps: list[StepSpec],
    inputs: Inputs | None,
    folder: str | None,
    parallel: int,
    approved_hash: str | None = None,
) -> Checked:
    """Return the steps as they were checked. Raises `Refused`, `Conflict` or `Invalid`, naming all that is wrong."""
    checked = check(tx, steps, inputs or {}, folder=None if folder is None else Path(folder), parallel=parallel)
    errors = [each for each in checked.findings if each.severity == "error"]
    secret = next((each for each in errors if each.rule == "secret"), None)
    if secret is not None:
        raise Refused(secret.message, field=secret.field, hint=secret.hint, data={"rule": "secret"})
    ring = next((each for each in errors if each.rule == "cycle"), None)
    if ring is not None and len(errors) == 1:
        raise Conflict(
            ring.message, field=ring.field, hint=ring.hint, data={"cycle": ring.message.split(": ")[1].split(" > ")}
        )
    refuse([Fault(each.field or "/steps", each.message, each.hint) for each in errors])
    if approved_hash is not None and approved_hash != checked.hash:
        raise Refused(
            "these are not the steps that were approved",
            field="/approved_hash",
            hint="have them approved as they are now",
            data={"rule": "approval", "approved": approved_hash, "hash": checked.hash},
        )
    return checked


# -- pages of steps ---------------------------------------------------------------------------------------------------


class StepPage(NamedTuple):
    """Some steps of a run."""

    steps: list[Step]
    next_cursor: str | None


def steps_of(
    read: Snapshot, run: str, cursor: str | None, limit: int, *, key: str | None = None, record: bool = False
) -> StepPage:
    """Return a page of the steps of a run, or of one of them; with `record` their attempts are measured as well.

    Raises `Invalid` for what is no cursor.
    """
    position, after = _parse(cursor)  # ids of one run are in the order of its keys
    found = read.rows(
        "SELECT its.id, its.position, coalesce(length(its.output), 0) + (CASE WHEN :record THEN"
        "  (SELECT coalesce(sum(length(input)), 0) FROM execution_attempts"
        "   WHERE id >= its.id || '/' AND id < its.id || '0') ELSE 0 END)"
        " FROM (SELECT id FROM execution_steps WHERE run = :run AND (:key IS NULL OR key = :key)"
        "  AND (position, id) > (:position, :after) AND deleted_at IS NULL ORDER BY position, id LIMIT :limit) AS page"
        " JOIN execution_steps AS its ON its.id = page.id ORDER BY its.position, its.id",
        run=run,
        key=key,
        position=position,
        after=f"{run}/{after}",
        limit=limit + 1,
        record=record,
    )
    ids: list[str] = []
    size = 0
    for id_, _, length in found[:limit]:
        size += length
        if ids and size > PAGE_BYTES:
            break
        ids.append(id_)
    steps = read.select(Step, "id IN (SELECT value FROM json_each(:ids))", order="position, id", ids=ids)
    more = len(found) > len(ids)
    return StepPage(steps, f"{steps[-1].position}/{steps[-1].key}" if more else None)


def recorded(read: Snapshot, run: str, steps: list[Step]) -> list[StepView]:
    """Return some steps of a run with their attempts, in order."""
    found = {step.key: StepView(step=step, attempts=[]) for step in steps}
    where = "run = :run AND key IN (SELECT value FROM json_each(:keys))"
    for attempt in read.select(Attempt, where, order="n", run=run, keys=list(found)):
        found[attempt.key].attempts.append(attempt)
    return list(found.values())


def _parse(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return -1, ""
    position, _, key = cursor.partition("/")
    if not (position.isascii() and position.isdigit() and len(position) < 10 and key):
        raise Invalid("this is no cursor of these steps", field="/cursor", hint="give next_cursor of the page before")
    return int(position), key
