"""Steps that wait: what they wait for, what happens when its time has come, and what a person decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from coder_local.api import Conflict, Error, Invalid, format_duration, parse_duration, parse_instant, replace
from coder_plugins.execution.definitions.records import Body
from coder_plugins.execution.definitions.rules import unfold
from coder_plugins.execution.kinds.records import IdleKind, SubRunInput, WaitKind
from coder_plugins.execution.rules.hashing import content_hash
from coder_plugins.execution.runs.records import (
    ApprovalDecided,
    ApprovalRequested,
    Signal,
    StepFault,
    StepWaiting,
    Wait,
)

from .live import Live, Moves, graph_of
from .making import NewRun, make

ASKS = frozenset({"approval", "decision"})
"""Kinds of waits that a person ends."""
DECISIONS = ["retry", "done", "skip", "fail"]
"""What may be decided about a step that a crash left undecided."""


def wait(moves: Moves, live: Live, key: str, what: Wait) -> Wait:
    """Have a step wait."""
    step = live.steps[key]
    shown_hash = content_hash([what.prompt, what.shown]) if what.kind in ASKS else None
    made = moves.tx.insert(
        replace(what, run=live.run.id, key=key, workspace_id=live.run.workspace_id, shown_hash=shown_hash)
    )
    live.waits[key] = made
    live.dirty = moves.times_moved = True
    if what.kind in {"queue", "deadline"}:
        return made
    live.set(key, status="needs_decision" if what.kind == "decision" else "waiting", reason=what.prompt or what.name)
    moves.revisit(live)  # the run may do nothing now but wait
    moves.say(StepWaiting(step=step.id, run=step.run, key=key, kind=what.kind))
    if what.kind in ASKS:
        moves.say(ApprovalRequested(approval=made.id, run=step.run, key=key))
    return made


def begin(moves: Moves, live: Live, key: str, kind: IdleKind[Any], input: Any) -> None:
    """Begin a step that does nothing itself."""
    live.set(key, started_at=moves.now)
    if isinstance(kind, WaitKind):
        _begin_wait(moves, live, key, kind, input)
    else:
        _begin_child(moves, live, key, input)


def _begin_wait(moves: Moves, live: Live, key: str, kind: WaitKind[Any], input: Any) -> None:
    what = kind.begin(moves.now_ms, input)
    deadline = live.spec(key).deadline
    if deadline is not None and what.due_at is None:
        due = moves.now_ms + round(parse_duration(deadline).total_seconds() * 1000)
        what = replace(
            what, due_at=moves.instant(due), due_means="failed" if what.default_choice is None else "default"
        )
    made = wait(moves, live, key, what)
    if what.kind == "signal":
        take_signal(moves, live, made)


def take_signal(moves: Moves, live: Live, waits: Wait) -> None:
    """End a step that waits for a signal with the oldest one of that name that no step has taken."""
    where = "run = :run AND name = :name AND consumed_by IS NULL"
    for signal in moves.tx.select(Signal, where, order="id", limit=1, run=live.run.id, name=waits.name):
        moves.tx.update(signal, consumed_by=waits.key)
        moves.end(live, waits.key, "succeeded", output={"name": signal.name, "payload": signal.payload}, reason=None)


def _begin_child(moves: Moves, live: Live, key: str, input: SubRunInput) -> None:
    run = live.run
    body = Body(steps=unfold(input.steps), parallel=live.parallel)
    if input.definition == "self":
        body = Body(steps=list(live.graph.specs.values()), parallel=live.parallel)
    elif input.definition is not None:
        graph, parallel = graph_of(moves.tx, input.definition)
        body = Body(steps=list(graph.specs.values()), parallel=parallel)
    new = NewRun(
        body=body,
        name=input.name or f"{run.name}: {key}"[:300],
        rights=run.rights,
        mode=run.mode,
        inputs=input.inputs,
        folder=run.folder,
        priority=run.priority,
        parent=run,
        parent_step=key,
    )
    try:
        child = make(moves, new)
    except Error as error:
        moves.end(live, key, "failed", error=StepFault(word=error.kind, message=error.message, data=error.data))
        return
    deadline = live.spec(key).deadline
    due = None
    if deadline is not None:
        due = moves.instant(moves.now_ms + round(parse_duration(deadline).total_seconds() * 1000))
    live.set(key, attempts=live.steps[key].attempts + 1)
    wait(moves, live, key, Wait(run="", key="", kind="child", name=child.run.id, due_at=due, due_means="failed"))


def fire(moves: Moves, live: Live, waits: Wait) -> None:
    """Do what is to be done when the time of a wait has come."""
    key = waits.key
    if waits.kind == "deadline":
        live.waits[key] = moves.tx.update(waits, due_at=None)  # it is told once; its attempt ends it
        live.dirty = moves.times_moved = True
        moves.overdue.append((live.run.id, key))
    elif waits.due_means == "again":
        moves.close_wait(live, key)
        live.set(key, status="pending", ready_at=None, reason=None)
        moves.revisit(live, key)
    elif waits.due_means == "done":
        late = max(0, moves.now_ms - _ms(waits.due_at))
        output = {"due_at": waits.due_at, "late_by": format_duration(timedelta(milliseconds=late))}
        moves.end(live, key, "succeeded", output=output, late_by_ms=late, reason=None)
    elif waits.due_means == "default" and waits.default_choice is not None:
        decide(moves, live, waits, waits.default_choice, by="deadline", payload=None)
    else:
        word = "queue_timeout" if waits.kind in {"queue", "lock"} else "deadline"
        moves.end(live, key, "failed", error=StepFault(word=word, message=_OVER[word].format(waits.kind)), reason=None)


_OVER = {
    "queue_timeout": "it stood in the queue longer than its queue_timeout",
    "deadline": "its deadline passed while it waited for: {}",
}


def _ms(instant: str | None) -> int:
    return 0 if instant is None else round(parse_instant(instant).timestamp() * 1000)


def decide(moves: Moves, live: Live, waits: Wait, choice: str, *, by: str, payload: Any) -> None:
    """Carry out a decision. Raises `Conflict` if there was one before, `Invalid` for a choice that is none."""
    if waits.status != "open":
        raise Conflict(
            f"this was decided already: {waits.decision or 'it is over'}",
            data={"decision": waits.decision, "by": waits.decided_by, "at": waits.decided_at},
        )
    if choice not in waits.choices:
        raise Invalid(
            f"{choice!r} is no choice here", field="/choice", hint=f"choose one of {', '.join(waits.choices)}"
        )
    key = waits.key
    moves.close_wait(live, key, decision=choice, decided_by=by, decided_at=moves.now, payload=payload)
    moves.say(ApprovalDecided(approval=waits.id, run=live.run.id, key=key, decision=choice))
    if waits.kind == "decision":
        _decide_unknown(moves, live, key, choice, by, payload)
        return
    output = {"decision": choice, "by": by, "payload": payload}
    if choice == "reject":
        fault = StepFault(word="rejected", message=f"{by} rejected it", data=output)
        moves.end(live, key, "failed", error=fault, output=output, reason=None)
    else:
        moves.end(live, key, "succeeded", output=output, reason=None)


def _decide_unknown(moves: Moves, live: Live, key: str, choice: str, by: str, payload: Any) -> None:
    if choice == "retry":
        moves.free(live, key)
        live.set(key, status="pending", ready_at=None, reason=None, recoveries=0)
        moves.revisit(live, key)
    elif choice == "done":
        moves.end(live, key, "succeeded", output=payload, reason=f"{by} said that it was done")
    elif choice == "skip":
        moves.end(live, key, "skipped", reason=f"{by} left it out")
    else:
        fault = StepFault(word="unknown", message=f"{by} said that it failed")
        moves.end(live, key, "failed", error=fault, reason=None)
