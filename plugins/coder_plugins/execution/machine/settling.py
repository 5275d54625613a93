"""What follows from what moved: which steps may begin, which are left out, and when a run is at its end."""

from __future__ import annotations

from typing import Any

import msgspec

from coder_local.api import Error, Safety, WorkKind, parse_duration, parse_instant
from coder_plugins.execution.definitions.records import Condition, StepSpec
from coder_plugins.execution.kinds.records import IdleKind
from coder_plugins.execution.records import ENDED_STEP, GOOD_STEP
from coder_plugins.execution.rules import graph
from coder_plugins.execution.rules.references import ReferenceFault, resolve
from coder_plugins.execution.runs.records import (
    Artifact,
    CompensationEnd,
    Run,
    RunChanged,
    RunEnd,
    RunFinished,
    RunStarted,
    Step,
    StepFault,
    Wait,
)

from . import fanout, waiting
from .attempts import fail, leave_out, resolve_input, word_of
from .faults import blame
from .live import Live, Moves
from .making import is_process, revision_of, scope_of

_OUTPUT_SHOWN = 4_096
_FAILED_SHOWN = 100


def settle(moves: Moves) -> None:
    """Carry on until nothing more follows."""
    while moves.unsettled:
        live = moves.unsettled.pop()
        if not live.ended and not live.run.faulted:
            with blame(live.run.id):
                _settle(moves, live)


def _settle(moves: Moves, live: Live) -> None:
    if live.run.status == "queued" and not _begin(moves, live):
        return
    while live.todo or _next_of_queue(live):
        key = live.todo.popleft()
        step = live.steps[key]
        if step.role == "fan_out" and step.status == "running":
            fanout.join(moves, live, key)
        elif step.status == "pending":
            _consider(moves, live, key)
    if live.unended == 0:
        _end(moves, live)
    else:
        _show(moves, live)


def _begin(moves: Moves, live: Live) -> bool:
    """Begin a queued run, unless it is paused or another one with its key runs; tell whether it goes on."""
    run = live.run
    if run.cancelling:
        return True
    if run.paused:
        return False
    if run.concurrency_key is not None:
        where = (  # the + and the words keep SQLite to the index of the key: else it would read all runs
            "concurrency_key = :key AND +workspace_id = :workspace AND status IN"
            " ('running', 'waiting', 'paused', 'cancelling', 'needs_decision', 'blocked')"
            " AND (status <> 'blocked' OR started_at IS NOT NULL)"  # one set aside before its turn came has no turn
        )
        busy = moves.tx.select(Run, where, limit=2, key=run.concurrency_key, workspace=run.workspace_id)
        loaded = [each.run for each in moves.lives.values() if _same_key(each.run, run) and _had_turn(each.run)]
        if any(each.id != run.id and not _over(moves, each) for each in (*busy, *loaded)):
            return False
    live.set_run(status="running", started_at=moves.now)
    moves.say(RunStarted(run=run.id, source_ref=run.source_ref))
    return True


def _had_turn(run: Run) -> bool:
    return run.status != "queued" and (run.status != "blocked" or run.started_at is not None)


def _same_key(one: Run, other: Run) -> bool:
    return (one.concurrency_key, one.workspace_id) == (other.concurrency_key, other.workspace_id)


def _over(moves: Moves, run: Run) -> bool:
    """Tell whether a run has ended, in this transaction or before."""
    live = moves.lives.get(run.id)
    return (run if live is None else live.run).finished_at is not None


def _next_of_queue(live: Live) -> bool:
    """Have the next step looked at that was held back because many of the run were active."""
    if live.queue and live.active < live.parallel and not live.run.paused:
        live.todo.append(live.queue.popleft())
        return True
    return False


# -- one step ---------------------------------------------------------------------------------------------------------


def _consider(moves: Moves, live: Live, key: str) -> None:
    """Look at a step that has not begun: it waits, it is left out, or it begins."""
    step = live.steps[key]
    if live.run.cancelling and step.role != "compensation":
        leave_out(moves, live, key)
        return
    if live.run.paused:
        return
    if key in live.running:
        reason = f"no plugin offers steps of kind {step.kind}, which is needed to tell what became of {key} in a crash"
        live.set_run(reason=reason)
        return
    spec = live.spec(key)
    verdict = _verdict(live, step, spec)
    if verdict == "skip":
        moves.end(live, key, "skipped", reason=_why_skipped(live, spec))
    elif verdict == "run":
        _start(moves, live, key, spec)


def _verdict(live: Live, step: Step, spec: StepSpec) -> str:
    """Return `wait`, `run` or `skip`."""
    if step.role == "item":
        return "run"
    if step.role == "compensation":
        return "run" if step.key == live.undoing[live.undone] else "wait"
    needs = [live.steps[need] for need in spec.needs]
    open_ = sum(1 for need in needs if need.status not in ENDED_STEP)
    good = sum(1 for need in needs if _counts_as_good(live, need))
    enough = len(needs) if spec.join == "all" else min(1, len(needs)) if spec.join == "any" else spec.join
    if spec.run_if == "always()":
        return "wait" if open_ else "run"
    if spec.run_if == "failure()":
        return "wait" if open_ else "run" if _failed_before(live, spec) else "skip"
    if good >= enough:
        return "run"
    return "wait" if good + open_ >= enough and open_ else "skip"


def _failed_before(live: Live, spec: StepSpec) -> bool:
    """Tell whether a step failed that this one needs, or that led to one being left out that it needs."""
    before = graph.before(list(live.graph.specs.values()), spec.key)
    found = [live.steps[key] for key in before]
    return any(step.status in {"failed", "cancelled"} and not _counts_as_good(live, step) for step in found)


def _counts_as_good(live: Live, step: Step) -> bool:
    return step.status in GOOD_STEP or (step.status == "failed" and live.graph.specs[step.key].allow_failure)


def _why_skipped(live: Live, spec: StepSpec) -> str:
    bad = [need for need in spec.needs if not _counts_as_good(live, live.steps[need])]
    if spec.run_if == "failure()":
        return "nothing that it needs failed"
    return f"not enough of what it needs succeeded: {', '.join(bad[:10])}"


def _start(moves: Moves, live: Live, key: str, spec: StepSpec) -> None:
    """Begin a step, or hold it back."""
    step = live.steps[key]
    if step.role == "step" and not _holds(moves, live, key, spec.when):
        return
    if step.role == "fan_out":
        if _holds(moves, live, key, spec.when) and not _take_over(moves, live, key):
            _fan_out(moves, live, key)
        return
    if fanout.hold_back(live, key) or _take_over(moves, live, key) or (spec.cache and _reuse(moves, live, key)):
        return
    kind = moves.kinds.get(step.kind)
    if kind is None:
        live.set_run(reason=f"no plugin offers steps of kind {step.kind}")
        return
    if kind.revision > step.revision:
        live.set_run(reason=f"steps of kind {step.kind} mean something else now; retry the run to have them so")
        return
    if live.run.mode == "dry" and _stays_dry(moves, live, key, spec):
        return
    if isinstance(kind, IdleKind):
        _begin_waiting(moves, live, key, spec, kind)
    elif live.active >= live.parallel:
        live.queue.append(key)
    else:
        ready_at = step.ready_at or moves.now  # one that waited for a resource keeps its place
        live.set(key, status="ready", ready_at=ready_at, process=is_process(moves, step.kind))
        if spec.queue_timeout is not None and step.attempts == 0:
            seconds = parse_instant(ready_at).timestamp() + parse_duration(spec.queue_timeout).total_seconds()
            due = moves.instant(round(seconds * 1000))
            waiting.wait(moves, live, key, Wait(run="", key="", kind="queue", due_at=due, due_means="failed"))


def _fan_out(moves: Moves, live: Live, key: str) -> None:
    if moves.expands:
        fanout.expand(moves, live, key)
    else:
        live.set(key, status="ready", ready_at=moves.now, process=False)  # to be expanded takes no place of a program


def _begin_waiting(moves: Moves, live: Live, key: str, spec: StepSpec, kind: IdleKind[Any]) -> None:
    try:
        input = msgspec.convert(resolve_input(live, key, spec), kind.input)
        waiting.begin(moves, live, key, kind, input)
    except (ReferenceFault, Error, ValueError, OverflowError) as error:  # a ValidationError is a ValueError
        moves.end(live, key, "failed", error=StepFault(word=word_of(error), message=str(error)))
    except Exception as error:  # noqa: BLE001 - it fails its step, and not the turn of all others
        moves.end(live, key, "failed", error=StepFault(word="broken", message=f"{type(error).__name__}: {error}"))


def _holds(moves: Moves, live: Live, key: str, when: Condition | None) -> bool:
    """Tell whether the condition of a step holds; if not, or if it cannot be told, the step is at its end."""
    if when is None:
        return True
    try:
        scope = scope_of(live, key)
        value = resolve(when.value, scope)
        if when.equals is not msgspec.UNSET:
            holds: bool = value == resolve(when.equals, scope)
        elif when.not_equals is not msgspec.UNSET:
            holds = value != resolve(when.not_equals, scope)
        else:
            one_of: list[Any] = resolve(when.one_of, scope) if when.one_of is not msgspec.UNSET else []
            holds = value in one_of
    except ReferenceFault as error:
        moves.end(live, key, "failed", error=StepFault(word="reference", message=str(error)))
        return False
    if not holds:
        moves.end(live, key, "skipped", reason="its condition does not hold")
    return holds


def _take_over(moves: Moves, live: Live, key: str) -> bool:
    """End a step of a retry with its result in the run before, if that still stands; tell whether it does.

    It stands if the step is the same, was not undone, was not asked to be done anew, and all that it needs was taken
    over as well. What a person agreed to stands only for what followed then; where it is answered anew as it was
    before, what was done after it and is the same is not done twice.
    """
    run, step = live.run, live.steps[key]
    base = step.parent if step.role == "item" and step.parent is not None else key
    if run.forked_from is None or step.role == "compensation" or base in run.redo:
        return False
    needs = live.graph.specs[base].needs
    if not all(_stands(moves, live, need) for need in needs):
        return False
    old = moves.tx.find(Step, f"{run.forked_from}/{key}")
    if old is None or old.hash != step.hash or old.status not in GOOD_STEP:
        return False
    if moves.tx.find(Step, f"{run.forked_from}/{key}'") is not None:
        return False  # it was undone
    if step.kind == "approval" and not _leads_to_the_same(moves, live, key):
        return False
    _end_reused(moves, live, key, old, old.reused_from or old.run)
    return True


def _stands(moves: Moves, live: Live, need: str) -> bool:
    """Tell whether a step gave what it did in the run before: it was taken over, or a person gave the same answer."""
    step = live.steps[need]
    if step.status in {"reused", "skipped"}:
        return True
    if step.kind != "approval" or step.status != "succeeded":
        return False
    old = moves.tx.find(Step, f"{live.run.forked_from}/{need}")
    return (
        old is not None
        and (old.hash, old.output, old.artifact) == (step.hash, step.output, step.artifact)
        and old.status in GOOD_STEP
    )


def _leads_to_the_same(moves: Moves, live: Live, key: str) -> bool:
    """Tell whether all that hangs on a step is what it was in the run before."""
    base = live.steps[key].parent or key
    for after in live.graph.after(base):
        old = moves.tx.find(Step, f"{live.run.forked_from}/{after}")
        if old is None or old.hash != live.steps[after].hash:
            return False
    return True


def _reuse(moves: Moves, live: Live, key: str) -> bool:
    """End a step with the result of an equal one that succeeded before in the same folder, if there is one."""
    step = live.steps[key]
    found = moves.tx.select(
        Step,
        "hash = :hash AND status = 'succeeded' AND workspace_id = :workspace AND id <> :id"
        " AND EXISTS (SELECT 1 FROM execution_runs AS its WHERE its.id = execution_steps.run AND its.folder IS :folder)"
        " AND NOT EXISTS (SELECT 1 FROM execution_steps AS undo WHERE undo.id = execution_steps.id || :mark)",
        order="finished_at DESC",
        limit=1,
        hash=step.hash,
        workspace=step.workspace_id,
        id=step.id,
        folder=live.run.folder,
        mark="'",
    )
    for other in found:
        _end_reused(moves, live, key, other, other.run)
    return bool(found)


def _end_reused(moves: Moves, live: Live, key: str, other: Step, run: str) -> None:
    """End a step with the result of another; a large one is an artifact of this step too, for the other may go."""
    if other.artifact is not None:
        where = "run = :run AND key = :key AND sha256 = :sha256"
        for its in moves.tx.select(Artifact, where, limit=1, run=other.run, key=other.key, sha256=other.artifact):
            moves.tx.insert(Artifact(
                run=live.run.id, workspace_id=live.run.workspace_id, key=key, n=0, name=its.name, sha256=its.sha256,
                bytes=its.bytes, media_type=its.media_type,
            ))  # fmt: skip
    moves.end(live, key, "reused", output=other.output, artifact=other.artifact, reused_from=run)


def _stays_dry(moves: Moves, live: Live, key: str, spec: StepSpec) -> bool:
    """End a step of a dry run with what it would have been given, unless it only reads."""
    kind = moves.kinds[live.steps[key].kind]
    would = resolve_input(live, key, spec, lenient=True)
    try:
        reads = isinstance(kind, WorkKind) and kind.safety(moves.tx, msgspec.convert(would, kind.input)) is Safety.READ
    except (msgspec.ValidationError, Error):
        reads = False
    if not reads and live.steps[key].kind != "sub_run":
        moves.end(live, key, "succeeded", output={"dry": True, "would": would})
        return True
    return False


# -- the run ----------------------------------------------------------------------------------------------------------


def _show(moves: Moves, live: Live) -> None:
    """Set the status of a run that goes on from those of its steps."""
    run, count = live.run, live.count
    if run.reason is not None and not count["pending"]:
        live.set_run(reason=None)
    if run.cancelling and not live.undoing:
        status = "cancelling"
    elif run.paused and not live.running:
        status = "paused"
    elif live.active:
        status = "running"
    elif count["needs_decision"]:
        status = "needs_decision"
    elif live.run.reason is not None:
        status = "blocked"
    elif count["waiting"]:
        status = "waiting"
    else:
        status = "running"
    if status != run.status:
        live.set_run(status=status)
        moves.say(RunChanged(run=run.id, status=status))


def _end(moves: Moves, live: Live) -> None:
    """Bring a run to its end, or first undo what it did, the last first."""
    run = live.run
    failed = [step for step in live.with_status("failed") if _is_failure(live, step)]
    undone = [live.steps[key] for key in live.undoing]
    to_undo = run.compensating or (failed and not run.cancelling)
    if to_undo and not undone and _compensate(moves, live):
        return
    if run.timed_out:
        status = "timed_out"
    elif run.cancelling:
        status = "cancelled"
    else:
        status = "failed" if failed else "succeeded"
    error = None
    if status != "succeeded":
        error = _run_end(failed, undone, status)
    live.set_run(
        status=status, finished_at=moves.now, deadline_at=None, error=error, output=_output(live), reason=None,
        compensating=False,
    )  # fmt: skip
    moves.say(RunFinished(run=run.id, status=status, source_ref=run.source_ref))
    _tell_parent(moves, live)
    _let_next_begin(moves, live)


def _is_failure(live: Live, step: Step) -> bool:
    if step.role in {"item", "compensation"}:
        return False
    return not live.graph.specs[step.key].allow_failure


def _compensate(moves: Moves, live: Live) -> bool:
    """Make the steps that undo what succeeded, in reverse order of completion; tell whether there are any."""
    done = [step for step in live.steps.values() if step.status == "succeeded" and step.role in {"step", "item"}]
    done = [step for step in done if live.spec(step.key).compensate is not None]
    if not done:
        return False
    base = max(step.position for step in live.steps.values()) + 1
    for index, step in enumerate(sorted(done, key=lambda each: -(each.ended or 0))):
        spec = live.spec(step.key)
        assert spec.compensate is not None  # noqa: S101 - those without were left out
        kind = spec.compensate.kind
        made = Step(
            id=f"{step.id}'", workspace_id=step.workspace_id, run=step.run, key=f"{step.key}'", position=base + index,
            parent=step.key, role="compensation", kind=kind, process=is_process(moves, kind), priority=step.priority,
            revision=revision_of(moves, kind),
            hash=f"{step.hash}'",
        )  # fmt: skip
        live.create(made)
        live.todo.append(made.key)
    live.set_run(compensating=True)
    _settle(moves, live)
    return True


def _run_end(failed: list[Step], undone: list[Step], status: str) -> RunEnd:
    first = min(failed, key=lambda step: step.ended or 0) if failed else None
    word, message = status, {"cancelled": "it was cancelled", "timed_out": "its deadline passed"}.get(status, "")
    if first is not None and first.error is not None and status == "failed":
        word, message = first.error.word, f"step {first.key} failed: {first.error.message}"
    return RunEnd(
        step=None if first is None else first.key,
        word=word,
        message=message,
        failed=[step.key for step in failed[:_FAILED_SHOWN]],
        compensations=[
            CompensationEnd(step=step.parent or "", status=step.status, message=_message(step))
            for step in sorted(undone, key=lambda each: each.position)
        ],
    )


def _message(step: Step) -> str | None:
    return None if step.error is None else step.error.message


def _output(live: Live) -> dict[str, Any]:
    last = [live.steps[key] for key in live.graph.last]
    return {
        step.key: step.output
        for step in last
        if step.output is not None and len(msgspec.json.encode(step.output)) <= _OUTPUT_SHOWN
    }


def _tell_parent(moves: Moves, live: Live) -> None:
    run = live.run
    if run.parent_run is None or run.parent_step is None:
        return
    parent = moves.load(run.parent_run)
    waits = parent.waits.get(run.parent_step)
    if waits is None or waits.kind != "child" or waits.name != run.id:
        return  # the parent went on without it: it was cancelled, or retried
    if run.status == "succeeded":
        moves.end(parent, run.parent_step, "succeeded", output={"run": run.id, "output": run.output}, reason=None)
    else:
        message = f"its run {run.status}" + (f": {run.error.message}" if run.error else "")
        if run.error is not None and run.error.word == "sub_run":  # of runs below runs, the cause once
            message = run.error.message.removeprefix(f"step {run.error.step} failed: ")
        fault = StepFault(word="sub_run", message=message, data={"run": run.id, "status": run.status})
        if run.status == "cancelled" and parent.run.cancelling:
            moves.end(parent, run.parent_step, "cancelled", error=fault, reason=None)
        else:
            moves.close_wait(parent, run.parent_step)
            fail(moves, parent, run.parent_step, fault, retry=run.status != "cancelled")


def _let_next_begin(moves: Moves, live: Live) -> None:
    key = live.run.concurrency_key
    if key is None:
        return
    where = "concurrency_key = :key AND +workspace_id = :workspace AND status = 'queued' AND NOT paused"
    workspace = live.run.workspace_id
    moved = len(moves.lives) + 1  # those that this transaction has moved may not be queued any more
    for run in moves.tx.select(Run, where, order="priority DESC, id", limit=moved, key=key, workspace=workspace):
        other = moves.load(run.id)
        if other.run.status == "queued" and not other.run.cancelling:
            moves.revisit(other)
            return
