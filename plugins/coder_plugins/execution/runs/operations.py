"""What may be asked of runs: start, look, stop, hold, go on, decide, signal, and make a new one from an old one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import (
    Conflict,
    Duration,
    Id,
    Invalid,
    NotFound,
    Refused,
    Safety,
    Snapshot,
    Title,
    Transaction,
    parse_duration,
)
from coder_plugins.execution.definitions.checking import check, unfold
from coder_plugins.execution.definitions.records import (
    PARALLEL,
    Body,
    Checked,
    Definition,
    Inputs,
    Parallel,
    Steps,
    StepSpec,
)
from coder_plugins.execution.machine import control, waiting
from coder_plugins.execution.machine.making import NewRun, above, make
from coder_plugins.execution.records import Key, StepKey, Word, domain
from coder_plugins.execution.records import refuse as refuse_faults
from coder_plugins.execution.rules.graph import Graph

from .asking import (
    Forked,
    Moving,
    Recorded,
    RunAnswer,
    RunView,
    StepView,
    WaitAnswer,
    confirmed,
    find_step,
    find_wait,
    grace_of,
)
from .records import (
    ApprovalDecided,
    ApprovalRequested,
    Attempt,
    Reference,
    Run,
    RunCancelled,
    RunChanged,
    RunFinished,
    RunForked,
    RunKind,
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

SHOWN = 2_000
_MOVES = (
    RunQueued, RunStarted, RunFinished, RunChanged, RunForked, RunCancelled, RunPaused, RunResumed, StepFinished,
    StepWaiting, ApprovalRequested, ApprovalDecided, SignalReceived,
)  # fmt: skip
Payload = Any
Seconds = Annotated[float, Meta(ge=0, le=3_600)]


# -- starting ---------------------------------------------------------------------------------------------------------


@domain.command("execution.start", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def start(
    tx: Transaction,
    *,
    steps: Steps,
    name: Title = "run",
    kind: RunKind = "other",
    inputs: Inputs | None = None,
    folder: Annotated[str, Meta(max_length=4_096)] | None = None,
    mode: Literal["live", "dry"] = "live",
    parallel: Parallel = PARALLEL,
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0,
    concurrency_key: Word | None = None,
    only: list[StepKey] | None = None,
    deadline: Duration | None = None,
    source_ref: Reference | None = None,
    approved_hash: Annotated[str, Meta(max_length=64)] | None = None,
) -> RunAnswer:
    """Start a run of some steps: the whole graph is on disk before the first of them begins.

    Everything that is wrong with the steps is told at once, and nothing runs. With `approved_hash` it is refused unless
    the steps are exactly those that have that hash. The steps run with the caller's rights.
    """
    checked = _checked(tx, steps, inputs, folder, parallel, approved_hash)
    now_ms = None if deadline is None else round(parse_duration(deadline).total_seconds() * 1000)
    with Moving(tx) as moves:
        parent, parent_step = above(moves)
        live = make(
            moves,
            NewRun(
                body=Body(steps=unfold(steps), parallel=parallel),
                name=name,
                rights=confirmed(tx.rights(), checked.safety),
                kind=kind,
                source_ref=source_ref,
                mode=mode,
                inputs=inputs or {},
                folder=_folder(folder),
                priority=priority,
                concurrency_key=concurrency_key,
                only=only or [],
                deadline_at=None if now_ms is None else moves.instant(moves.now_ms + now_ms),
                parent=parent,
                parent_step=parent_step,
            ),
        )
    return RunAnswer(run=live.run)


def _checked(
    tx: Transaction,
    steps: list[StepSpec],
    inputs: Inputs | None,
    folder: str | None,
    parallel: int,
    approved_hash: str | None = None,
) -> Checked:
    """Return the steps as they were checked. Raises `Refused` or `Invalid`, naming all that is wrong, if they cannot run."""
    from coder_local.api import Fault  # noqa: PLC0415

    checked = check(tx, steps, inputs or {}, folder=folder is not None, parallel=parallel)
    errors = [each for each in checked.findings if each.severity == "error"]
    secret = next((each for each in errors if each.rule == "secret"), None)
    if secret is not None:
        raise Refused(secret.message, field=secret.field, hint=secret.hint, data={"rule": "secret"})
    ring = next((each for each in errors if each.rule == "cycle"), None)
    if ring is not None and len(errors) == 1:
        raise Conflict(
            ring.message, field=ring.field, hint=ring.hint, data={"cycle": ring.message.split(": ")[1].split(" > ")}
        )
    refuse_faults([Fault(each.field or "/steps", each.message, each.hint) for each in errors])
    if approved_hash is not None and approved_hash != checked.hash:
        raise Refused(
            "these are not the steps that were approved",
            field="/approved_hash",
            hint="have them approved as they are now",
            data={"rule": "approval", "approved": approved_hash, "hash": checked.hash},
        )
    return checked


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


# -- looking ----------------------------------------------------------------------------------------------------------


@domain.query("execution.runs.get")
def get(read: Snapshot, *, id: Id) -> RunView:
    """Return one run with its steps and what it waits for."""
    run = read.get(Run, id)
    steps = read.select(Step, "run = :run", order="position, id", limit=SHOWN, run=id)
    waits = read.select(Wait, "run = :run AND status = 'open'", run=id)
    counts = read.rows("SELECT status, count(*) FROM execution_steps WHERE run = :run GROUP BY status", run=id)
    return RunView(run=run, steps=steps, waits=waits, counts=dict(counts))


@domain.query("execution.runs.record")
def record(read: Snapshot, *, id: Id, step: StepKey | None = None) -> Recorded:
    """Return everything that happened in a run: each attempt with its input, facts, effect, result and duration."""
    run = read.get(Run, id)
    where = "run = :run AND (:key IS NULL OR key = :key)"
    steps = read.select(Step, where, order="position, id", limit=SHOWN, run=id, key=step)
    attempts: dict[str, list[Attempt]] = {}
    for attempt in read.select(Attempt, where, order="n", limit=10 * SHOWN, run=id, key=step):
        attempts.setdefault(attempt.key, []).append(attempt)
    return Recorded(
        run=run,
        steps=[StepView(step=each, attempts=attempts.get(each.key, [])) for each in steps],
        waits=read.select(Wait, where, order="id", run=id, key=step),
        signals=read.select(Signal, "run = :run", order="id", run=id),
    )


@domain.query("execution.steps.get")
def get_step(read: Snapshot, *, run: Id, step: StepKey) -> StepView:
    """Return one step of a run with its attempts."""
    found = find_step(read, run, step)
    attempts = read.select(Attempt, "run = :run AND key = :key", order="n", run=run, key=step)
    return StepView(step=found, attempts=attempts)


@domain.query("execution.runs.definition")
def definition(read: Snapshot, *, id: Id) -> Body:
    """Return the steps that a run is held to, as they were when it started."""
    found = read.find(Definition, read.get(Run, id).definition)
    if found is None:
        raise NotFound("the steps of this run are not kept any more", field="/id")
    return found.body


# -- stopping, holding, going on --------------------------------------------------------------------------------------


@domain.command("execution.runs.cancel", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def cancel(tx: Transaction, *, id: Id, grace: Seconds | None = None, compensate: bool = False) -> RunAnswer:
    """Stop a run: what has not begun is left out, and programs get a soft signal and after `grace` seconds a hard one.

    The run is `cancelling` until all of its processes are gone. With `compensate` what was done is undone then.
    """
    with Moving(tx) as moves:
        live = moves.open(id, "cancelled")
        if not live.run.cancelling:
            control.cancel(moves, live, grace_ms=grace_of(grace), compensate=compensate)
        elif grace is not None:
            live.set_run(grace_ms=grace_of(grace))
    return RunAnswer(run=live.run)


@domain.command("execution.runs.pause", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def pause(tx: Transaction, *, id: Id) -> RunAnswer:
    """Have a run begin no more steps; what runs comes to its end, and waits go on waiting."""
    with Moving(tx) as moves:
        live = moves.open(id, "paused")
        if live.run.cancelling:
            raise Conflict("this run is being cancelled", data={"run": id, "status": live.run.status})
        if not live.run.paused:
            control.pause(moves, live)
    return RunAnswer(run=live.run)


@domain.command("execution.runs.resume", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def resume(
    tx: Transaction,
    *,
    id: Id,
    step: StepKey | None = None,
    choice: Literal["retry", "done", "skip", "fail"] | None = None,
    output: Payload = None,
) -> RunAnswer:
    """Go on with a run that is paused or blocked, or that needs a decision on a step that a crash left undecided.

    `choice` is that decision: `retry` does it again, `done` takes `output` for its result, `skip` leaves it out, `fail`
    takes it for failed. `step` names it where there are several.
    """
    with Moving(tx) as moves:
        live = moves.open(id, "resumed")
        asked = [each for each in live.waits.values() if each.kind == "decision" and step in {None, each.key}]
        if choice is not None:
            if len(asked) != 1:
                raise _which(live.run, asked, step)
            waiting.decide(moves, live, asked[0], choice, by=tx.actor, payload=output)
        elif asked and not live.run.paused:
            raise Invalid(
                f"step {asked[0].key} needs a decision",
                field="/choice",
                hint="choose retry, done (with output), skip or fail",
                data={"steps": [each.key for each in asked]},
            )
        control.resume(moves, live, "a person said so" if tx.actor == "user" else f"{tx.actor} said so")
    return RunAnswer(run=live.run)


def _which(run: Run, asked: list[Wait], step: str | None) -> Invalid | Conflict:
    if not asked:
        what = "no step of this run" if step is None else f"step {step}"
        return Conflict(f"{what} needs a decision", data={"run": run.id, "status": run.status})
    keys = ", ".join(each.key for each in asked)
    return Invalid(f"several steps need a decision: {keys}", field="/step", hint="name one of them")


# -- deciding and signalling ------------------------------------------------------------------------------------------


@domain.command("execution.approvals.approve", emits=_MOVES, person_only=True)
def approve(
    tx: Transaction,
    *,
    id: Id,
    choice: Annotated[str, Meta(max_length=100)] = "approve",
    shown_hash: Annotated[str, Meta(max_length=64)] | None = None,
    payload: Payload = None,
) -> WaitAnswer:
    """Decide what a run waits for. The first decision counts; `shown_hash` says what the person saw.

    It is refused if that is not what would be decided on.
    """
    return _decide(tx, id, choice, shown_hash, payload)


@domain.command("execution.approvals.reject", emits=_MOVES, person_only=True)
def reject(
    tx: Transaction, *, id: Id, shown_hash: Annotated[str, Meta(max_length=64)] | None = None, payload: Payload = None
) -> WaitAnswer:
    """Reject what a run waits for: its step fails."""
    return _decide(tx, id, "reject", shown_hash, payload)


def _decide(tx: Transaction, id: str, choice: str, shown_hash: str | None, payload: Any) -> WaitAnswer:
    found = find_wait(tx, id)
    if shown_hash is not None and shown_hash != found.shown_hash:
        raise Refused(
            "what is to be decided is not what was shown",
            field="/shown_hash",
            hint="look at it as it is now, then decide",
            data={"rule": "approval", "shown_hash": found.shown_hash},
        )
    with Moving(tx) as moves:
        live = moves.load(found.run)
        waiting.decide(moves, live, live.waits.get(found.key, found) if found.status == "open" else found, choice,
                       by=tx.actor, payload=payload)  # fmt: skip
    return WaitAnswer(approval=tx.get(Wait, id), run=live.run)


@domain.command("execution.runs.signal", emits=_MOVES)
def signal(
    tx: Transaction,
    *,
    id: Id,
    name: Word,
    payload: Payload = None,
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None,
) -> Signal:
    """Send a run a signal. It is kept until a step waits for it; one with the same `dedupe_key` is taken for the same."""
    with Moving(tx) as moves:
        live = moves.open(id, "signalled")
        if dedupe_key is not None:
            where = "run = :run AND dedupe_key = :key"
            for known in tx.select(Signal, where, limit=1, run=id, key=dedupe_key):
                return known
        workspace = live.run.workspace_id
        made = tx.insert(Signal(run=id, workspace_id=workspace, name=name, payload=payload, dedupe_key=dedupe_key))
        tx.emit(SignalReceived(signal=made.id, run=id, name=name))
        for each in sorted(live.waits.values(), key=lambda wait: wait.id):
            if each.kind == "signal" and each.name == name:
                waiting.take_signal(moves, live, each)
                break
    return tx.get(Signal, made.id)


# -- runs from runs ---------------------------------------------------------------------------------------------------


@domain.command("execution.runs.retry", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def retry(
    tx: Transaction,
    *,
    id: Id,
    source: Literal["failed", "start"] | Key = "failed",
    definition: Literal["same", "latest"] = "same",
    steps: Steps | None = None,
    inputs: Inputs | None = None,
) -> Forked:
    """Make a new run from one that has ended, and take over the results that still stand.

    `source` is where it begins anew: `failed` (all that did not succeed), `start` (everything), or a step with all that
    hangs on it. With `definition` latest it runs `steps`, the corrected ones, or those of the newest run of the same
    source; a result stands if its step, and all that it needs, is the same.
    """
    old = _ended(tx, id)
    body = _body(tx, old)
    if definition == "latest":
        body = _latest(tx, old) if steps is None else Body(steps=unfold(steps), parallel=body.parallel)
    elif steps is not None:
        raise Invalid(
            "steps are given, and the same ones are asked for", field="/steps", hint="ask for definition latest"
        )
    graph = Graph(body.steps)
    if source not in {"failed", "start"} and source not in graph.specs:
        raise NotFound(f"there is no step {source!r}", field="/source", hint=f"it has {', '.join(graph.specs)}"[:300])
    redo = [] if source == "failed" else list(graph.specs) if source == "start" else sorted(graph.after(source))
    return _fork(tx, old, body, "retry", redo, old.inputs if inputs is None else inputs)


@domain.command("execution.runs.rewind", emits=_MOVES, safety=Safety.DESTRUCTIVE)
def rewind(
    tx: Transaction,
    *,
    id: Id,
    step: Key,
    inputs: Inputs | None = None,
    change: dict[str, Any] | None = None,
) -> Forked:
    """Make a new run that shares what was finished before a step, and goes on from there; the old run is untouched.

    `change` replaces values in the `input` of that step.
    """
    old = tx.get(Run, id)
    body = _body(tx, old)
    graph = Graph(body.steps)
    if step not in graph.specs:
        raise NotFound(f"there is no step {step!r}", field="/step", hint=f"it has {', '.join(graph.specs)}"[:300])
    if change:
        spec = graph.specs[step]
        changed = msgspec.structs.replace(spec, input={**spec.input, **change})
        body = Body(steps=[changed if each.key == step else each for each in body.steps], parallel=body.parallel)
    return _fork(tx, old, body, "rewind", sorted(graph.after(step)), old.inputs if inputs is None else inputs)


def _ended(tx: Transaction, id: str) -> Run:
    run = tx.get(Run, id)
    if run.finished_at is None:
        raise Conflict(
            f"this run is {run.status}",
            hint="cancel it first, or rewind it: that makes a new run beside it",
            data={"run": id, "status": run.status},
        )
    return run


def _body(tx: Transaction, run: Run) -> Body:
    found = tx.find(Definition, run.definition)
    if found is None:
        raise Refused(
            "the steps of this run are not kept any more",
            hint="start a new run from what it was made from",
            data={"rule": "definition", "definition": run.definition},
        )
    return found.body


def _latest(tx: Transaction, run: Run) -> Body:
    if run.source_ref is None:
        raise Invalid("this run has no source, so there is no later definition", field="/steps", hint="give the steps")
    newest = tx.select(Run, "source_ref = :source", order="id DESC", limit=1, source=run.source_ref)
    return _body(tx, newest[0])


def _fork(
    tx: Transaction, old: Run, body: Body, how: Literal["retry", "rewind"], redo: list[str], inputs: Inputs
) -> Forked:
    checked = _checked(tx, body.steps, inputs, old.folder, body.parallel)
    with Moving(tx) as moves:
        live = make(
            moves,
            NewRun(
                body=body, name=old.name, rights=confirmed(tx.rights(), checked.safety), kind=old.kind,
                source_ref=old.source_ref, mode=old.mode, inputs=inputs, folder=old.folder, priority=old.priority,
                concurrency_key=old.concurrency_key, only=old.only, forked_from=old.id, fork=how, redo=redo,
            ),
        )  # fmt: skip
    return Forked(run=live.run, reused=[step.key for step in live.with_status("reused")])
