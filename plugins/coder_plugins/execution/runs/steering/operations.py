"""What may be asked of a run that goes on: stop it, hold it, go on, decide, signal."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local.api import Conflict, Id, Invalid, Refused, Safety, TooLarge, Transaction
from coder_plugins.execution.machine import control, waiting
from coder_plugins.execution.records import INLINE_LIMIT, StepKey, Word, domain
from coder_plugins.execution.runs.records import Run, Signal, SignalReceived, Wait
from coder_plugins.execution.runs.rules import MOVES, Moving, RunAnswer, WaitAnswer, find_wait, grace_of

Seconds = Annotated[float, Meta(ge=0, le=3_600)]
Payload = Any


@domain.command("execution.runs.cancel", emits=MOVES, safety=Safety.DESTRUCTIVE)
def cancel(tx: Transaction, *, id: Id, grace: Seconds | None = None, compensate: bool = False) -> RunAnswer:
    """Stop a run: what has not begun is left out, and programs get a soft signal and after `grace` seconds a hard one.

    The run is `cancelling` until all of its processes are gone. With `compensate` what was done is undone then. Asked
    again, it may give less time, or have undone what was not to be; never more time, and what is to be undone stays so.
    """
    with Moving(tx) as moves:
        live = moves.open(id, "cancelled")
        if live.run.cancelling:
            control.hasten(moves, live, grace_ms=grace_of(grace), compensate=compensate)
        else:
            control.cancel(moves, live, grace_ms=grace_of(grace), compensate=compensate)
    return RunAnswer(run=live.run)


@domain.command("execution.runs.pause", emits=MOVES, safety=Safety.DESTRUCTIVE)
def pause(tx: Transaction, *, id: Id) -> RunAnswer:
    """Have a run begin no more steps; what runs comes to its end, and waits go on waiting."""
    with Moving(tx) as moves:
        live = moves.open(id, "paused")
        if live.run.cancelling:
            raise Conflict("this run is being cancelled", data={"run": id, "status": live.run.status})
        if not live.run.paused:
            control.pause(moves, live)
    return RunAnswer(run=live.run)


@domain.command("execution.runs.resume", emits=MOVES, safety=Safety.DESTRUCTIVE)
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
    _refuse_large(output, "/output")
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


def _refuse_large(payload: Any, field: str) -> None:
    """Raise `TooLarge` for a payload that is larger than the output of a step may be."""
    if len(msgspec.json.encode(payload)) > INLINE_LIMIT:
        raise TooLarge(
            "this is over 1 MiB", field=field, hint="write a file, and give its path", data={"limit": INLINE_LIMIT}
        )


def _which(run: Run, asked: list[Wait], step: str | None) -> Invalid | Conflict:
    if not asked:
        what = "no step of this run" if step is None else f"step {step}"
        return Conflict(f"{what} needs a decision", data={"run": run.id, "status": run.status})
    keys = ", ".join(each.key for each in asked)
    return Invalid(f"several steps need a decision: {keys}", field="/step", hint="name one of them")


@domain.command("execution.approvals.approve", emits=MOVES, person_only=True)
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


@domain.command("execution.approvals.reject", emits=MOVES, person_only=True)
def reject(
    tx: Transaction, *, id: Id, shown_hash: Annotated[str, Meta(max_length=64)] | None = None, payload: Payload = None
) -> WaitAnswer:
    """Reject what a run waits for: its step fails."""
    return _decide(tx, id, "reject", shown_hash, payload)


def _decide(tx: Transaction, id: str, choice: str, shown_hash: str | None, payload: Any) -> WaitAnswer:
    _refuse_large(payload, "/payload")
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


@domain.command("execution.runs.signal", emits=MOVES)
def signal(
    tx: Transaction,
    *,
    id: Id,
    name: Word,
    payload: Payload = None,
    dedupe_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None,
) -> Signal:
    """Send a run a signal, which is kept until a step waits for it.

    One with the same `dedupe_key` is taken for the same.
    """
    _refuse_large(payload, "/payload")
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
