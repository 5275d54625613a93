"""What a person may ask of a run: stop it, hold it, go on."""

from __future__ import annotations

from coder_plugins.execution.runs.records import Lock, RunCancelled, RunPaused, RunResumed

from .attempts import leave_out
from .live import Live, Moves


def cancel(moves: Moves, live: Live, *, grace_ms: int | None, compensate: bool, timed_out: bool = False) -> None:
    """Stop a run: what has not begun is left out, what runs is told to stop, runs below it are stopped too."""
    live.set_run(
        cancelling=True, paused=False, faulted=False, grace_ms=grace_ms, compensating=compensate, timed_out=timed_out,
        reason=None,
    )  # fmt: skip
    moves.say(RunCancelled(run=live.run.id))
    for step in live.with_status("pending", "ready", "waiting", "needs_decision"):
        waits = live.waits.get(step.key)
        if waits is not None and waits.kind == "child" and waits.name is not None:
            child = moves.load(waits.name)
            if child.run.cancelling:
                hasten(moves, child, grace_ms=grace_ms, compensate=compensate)
            elif not child.ended:
                cancel(moves, child, grace_ms=grace_ms, compensate=compensate)
            continue  # its end is the end of the step
        if step.role != "compensation":
            leave_out(moves, live, step.key)
    moves.revisit(live)


def hasten(moves: Moves, live: Live, *, grace_ms: int | None, compensate: bool) -> None:
    """Cancel once more a run that is being cancelled, and those below it: with less time, or with compensation.

    None is no wish for more time, and no compensation is no wish to leave out one that was asked for.
    """
    run = live.run
    sooner = grace_ms is not None and (run.grace_ms is None or grace_ms < run.grace_ms)
    if sooner or (compensate and not run.compensating):
        live.set_run(grace_ms=grace_ms if sooner else run.grace_ms, compensating=run.compensating or compensate)
        moves.say(RunCancelled(run=run.id))  # or the engine would hear of it only when it looks by itself
    for child in _below(moves, live):
        if child.run.cancelling:
            hasten(moves, child, grace_ms=grace_ms, compensate=compensate)


def pause(moves: Moves, live: Live) -> None:
    """Begin no more steps, here and in the runs below; what runs comes to its end, and waits go on waiting.

    None stays in the queue for a resource: its turn would come while it is held, and those behind it would wait for it.
    """
    live.set_run(paused=True)
    queued = [step for step in live.with_status("waiting") if live.waits[step.key].kind == "lock"]
    for step in (*live.with_status("ready"), *queued):
        moves.close_wait(live, step.key)
        live.set(step.key, status="pending", ready_at=None, reason=None)
        moves.free(live, step.key)
    live.queue.clear()
    live.held.clear()
    moves.say(RunPaused(run=live.run.id))
    moves.revisit(live)
    for child in _below(moves, live):
        if not child.run.paused and not child.run.cancelling:
            pause(moves, child)


def resume(moves: Moves, live: Live, reason: str) -> None:
    """Go on after a pause, here and in the runs below, or try again what blocked the run."""
    for child in _below(moves, live) if live.run.paused else ():
        if child.run.paused:
            resume(moves, child, reason)
    live.set_run(paused=False)
    try_again(moves, live, reason)


def try_again(moves: Moves, live: Live, reason: str) -> None:
    """Try again what blocked a run; one that is paused stays so."""
    _queue_anew(moves, live)
    live.set_run(faulted=False, reason=None)
    if live.run.status == "blocked" and live.run.started_at is None:
        live.set_run(status="queued")  # its turn had not come
    moves.say(RunResumed(run=live.run.id, reason=reason))
    live.queue.clear()
    live.held.clear()
    moves.revisit(live, *(step.key for step in live.with_status("pending")))


def _queue_anew(moves: Moves, live: Live) -> None:
    """Have the steps that wait for a resource which is free take it: they were passed over while nothing moved them."""
    for step in live.with_status("waiting"):
        waits = live.waits[step.key]
        if waits.kind == "lock" and moves.tx.find(Lock, f"{live.run.workspace_id}/{waits.name}") is None:
            moves.close_wait(live, step.key)
            live.set(step.key, status="pending", reason=None)


def _below(moves: Moves, live: Live) -> list[Live]:
    """Return the runs that steps of a run wait for, those that go on."""
    names = [waits.name for waits in live.waits.values() if waits.kind == "child" and waits.name is not None]
    return [child for child in map(moves.load, names) if not child.ended]
