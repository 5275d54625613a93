"""Attempts: a step is claimed, its attempt is on disk before its effect, and its result moves the run on."""

from __future__ import annotations

import math
import random
from typing import Any, Literal

import msgspec

from coder_local.api import (
    Error,
    Refused,
    Rights,
    Safety,
    Unsupported,
    Value,
    WorkKind,
    parse_duration,
    parse_instant,
    replace,
)
from coder_plugins.execution.definitions.records import StepSpec
from coder_plugins.execution.rules import retries
from coder_plugins.execution.rules.references import ReferenceFault, resolve
from coder_plugins.execution.runs.records import Artifact, Attempt, Lock, Step, StepFault, StepStarted, Wait

from .live import Live, Moves
from .making import scope_of
from .waiting import DECISIONS, wait

RECOVERIES = 3
"""After so many crashes in the middle of one step a person is asked, whatever the step is."""
_LOOKED_AT = frozenset({"checkable", "adoptable"})
"""Effects of which the kind itself finds out what became of them."""
_FREE = frozenset({Safety.READ, Safety.WRITE})
"""Words that nobody has to agree to."""
_chance = random.SystemRandom()


class Job(Value):
    """An attempt that is on disk, for the engine to carry out."""

    run: str
    key: str
    n: int
    kind: str
    input: dict[str, Any]
    effect: str
    state: str
    """`intent`: it must be prepared first. `started`: it may be run. `recover`: nobody knows what became of it."""
    facts: dict[str, Any]
    idempotency_key: str
    timeout_ms: int
    elapsed_ms: int = 0
    """Of a recovered one: how long ago it began."""
    grace_ms: int | None = None
    rights: Rights
    root: str | None
    source: str | None = None


class Kept(Value):
    """A content that a step left behind."""

    name: str
    sha256: str
    bytes: int
    media_type: str


class Ended(Value):
    """How an attempt ended, as the engine saw it."""

    run: str
    key: str
    n: int
    state: str
    """`done`, `failed`, `cancelled`, `unknown`, or `lost` for one that never began."""
    output: Any = None
    artifact: str | None = None
    error: StepFault | None = None
    retry: bool = True
    active_ms: int = 0
    exit_code: int | None = None
    signal: str | None = None
    log_bytes: int = 0
    kept: list[Kept] = msgspec.field(default_factory=list[Kept])


def claim(moves: Moves, live: Live, key: str, boot: tuple[str, str]) -> Job | None:
    """Begin an attempt at a ready step; None if it must wait for a resource, or cannot be begun.

    It is on disk when the transaction is, and must not have an effect before, but for one in this very transaction.
    `boot` is the start of the engine, and that of the machine: after another one no process is left to be adopted.
    """
    spec, step = live.spec(key), live.steps[key]
    kind = moves.kinds.get(step.kind)
    if kind is None:  # it was there when the step became ready
        moves.close_wait(live, key)
        moves.free(live, key)
        live.set(key, status="pending", ready_at=None)
        moves.revisit(live, key)
        return None
    deadline_ms = _deadline_ms(moves, live, key)
    if deadline_ms <= moves.now_ms:
        moves.end(live, key, "failed", error=StepFault(word="deadline", message="its deadline passed before it began"))
        return None
    busy = _take(moves, live, key, spec)
    queued = moves.close_wait(live, key)
    if busy is not None:  # it stands in another queue now, and its time in the queue goes on
        due = None if queued is None else queued.due_at
        wait(moves, live, key, Wait(run="", key="", kind="lock", name=busy, due_at=due, due_means="failed"))
        moves.free(live, key)
        return None
    try:
        input = resolve_input(live, key, spec)
        if not isinstance(kind, WorkKind):
            raise ReferenceFault(f"{step.kind} is no kind of step that does something")
        typed = msgspec.convert(input, kind.input)
        _refuse_more(moves, live.run.rights, step.kind, kind.safety(moves.tx, typed))
        effect, prepares = kind.effect(moves.tx, typed), kind.prepares(typed)
    except Unsupported as error:  # the plugin of an operation is gone, and may come back
        moves.free(live, key)
        live.set(key, status="pending", ready_at=None)
        live.set_run(reason=error.message)
        moves.revisit(live)
        return None
    except (ReferenceFault, msgspec.ValidationError, Error) as error:
        moves.end(live, key, "failed", error=StepFault(word=word_of(error), message=str(error)))
        return None
    except Exception as error:  # noqa: BLE001 - a plugin's fault fails its step, and not the turn of all others
        moves.end(live, key, "failed", error=StepFault(word="broken", message=f"{type(error).__name__}: {error}"))
        return None
    n = step.attempts + 1
    state: Literal["intent", "started"] = "intent" if prepares else "started"
    facts = {"machine": boot[1]} if step.process else {}
    attempt = live.running[key] = Attempt(
        id=f"{step.id}/{n}", workspace_id=step.workspace_id, run=step.run, key=key, n=n, state=state, boot=boot[0],
        effect=effect, input=input, facts=facts, idempotency_key=step.id,
        timeout_ms=_timeout(spec, step.active_ms), started_at=moves.now,
    )  # fmt: skip
    live.new_attempts.add(key)
    live.set(key, status="running", attempts=n, started_at=step.started_at or moves.now, reason=None)
    _watch_deadline(moves, live, key)
    moves.say(StepStarted(step=step.id, run=step.run, key=key, attempt=n))
    return job_of(live, attempt, state)


def _refuse_more(moves: Moves, rights: Rights, kind: str, safety: Safety) -> None:
    """Raise `Refused` where a step is more than whoever started the run may do, or has agreed to.

    Operations are asked for at their own gate as well; a program or a request has no other one than this.
    """
    if rights.token is not None:
        with moves.tx.acting(rights):
            pass  # raises if the token was revoked
    if safety not in rights.scopes or (safety not in _FREE and safety not in rights.confirmed):
        raise Refused(
            f"{rights.actor} may not have done what is {safety}, and this step of kind {kind} is",
            hint=f"start the run with rights that have the word {safety}"
            if safety not in rights.scopes
            else f"start the run with {safety}: true",
            data={"rule": "safety", "safety": str(safety)},
        )


def word_of(error: Exception) -> str:
    """Return the word of an error that ended a step before it began."""
    if isinstance(error, ReferenceFault):
        return "reference"
    return error.kind if isinstance(error, Error) else "invalid"


def job_of(live: Live, attempt: Attempt, state: str, elapsed_ms: int = 0) -> Job:
    """Return what the engine needs to carry out an attempt."""
    run = live.run
    return Job(
        run=run.id, key=attempt.key, n=attempt.n, kind=live.steps[attempt.key].kind, input=attempt.input,
        effect=attempt.effect, state=state, facts=attempt.facts, idempotency_key=attempt.idempotency_key,
        timeout_ms=attempt.timeout_ms, elapsed_ms=elapsed_ms, grace_ms=run.grace_ms, rights=run.rights,
        root=run.folder, source=run.source_ref,
    )  # fmt: skip


def resolve_input(live: Live, key: str, spec: StepSpec, *, lenient: bool = False) -> dict[str, Any]:
    """Return the input of a step with its references resolved; the steps of a sub-run keep theirs."""
    given = spec.input
    scope = scope_of(live, key)
    if live.steps[key].kind != "sub_run":
        found: dict[str, Any] = resolve(given, scope, lenient=lenient)
        return found
    rest = {name: value for name, value in given.items() if name != "steps"}
    return {**resolve(rest, scope, lenient=lenient), **({"steps": given["steps"]} if "steps" in given else {})}


def _timeout(spec: StepSpec, active_ms: int) -> int:
    timeout = round(parse_duration(spec.timeout).total_seconds() * 1000)
    if spec.total_timeout is not None:
        left = round(parse_duration(spec.total_timeout).total_seconds() * 1000) - active_ms
        timeout = min(timeout, max(1, left))
    return timeout


def _deadline_ms(moves: Moves, live: Live, key: str) -> float:
    """Return when the time of a step is over by the clock on the wall, infinity if it has no deadline."""
    deadline, begun = live.spec(key).deadline, live.steps[key].started_at or moves.now
    if deadline is None:
        return math.inf
    return (parse_instant(begun).timestamp() + parse_duration(deadline).total_seconds()) * 1000


def _watch_deadline(moves: Moves, live: Live, key: str) -> None:
    """Have a step that works looked at when its deadline passes: a sleep of the machine stops its own clock."""
    deadline_ms = _deadline_ms(moves, live, key)
    if deadline_ms < math.inf:
        wait(moves, live, key, Wait(run="", key="", kind="deadline", due_at=moves.instant(round(deadline_ms))))


def _take(moves: Moves, live: Live, key: str, spec: StepSpec) -> str | None:
    """Take all resources of a step, or none; return the one that another step holds."""
    workspace = live.run.workspace_id
    for name in spec.resources:
        held = moves.tx.find(Lock, f"{workspace}/{name}")
        if held is not None and (held.run, held.key) != (live.run.id, key):
            return name
    for name in spec.resources:
        if moves.tx.find(Lock, f"{workspace}/{name}") is None:
            moves.tx.insert(Lock(id=f"{workspace}/{name}", workspace_id=workspace, name=name, run=live.run.id, key=key))
    return None


def prepared(moves: Moves, run: str, key: str, n: int, facts: dict[str, Any], kept: list[Kept]) -> bool:
    """Write what was found out and kept before the effect; False if the attempt is over, so that it must not go on."""
    live = moves.load(run)
    attempt = live.running.get(key)
    if attempt is None or attempt.n != n or (live.run.cancelling and live.steps[key].role != "compensation"):
        return False
    live.running[key] = moves.tx.update(attempt, state="started", facts={**attempt.facts, **facts})
    _keep(moves, attempt, kept)
    live.dirty = True
    return True


def end(moves: Moves, ended: Ended) -> None:
    """Write the end of an attempt, and what follows for its step. One that is over already is left alone."""
    live = moves.load(ended.run)
    attempt = live.running.get(ended.key)
    if attempt is None or attempt.n != ended.n:
        return
    del live.running[ended.key]
    moves.close_wait(live, ended.key)
    _write_end(moves, live, attempt, ended)
    key, step = ended.key, live.steps[ended.key]
    _keep(moves, attempt, ended.kept)
    active_ms = step.active_ms + ended.active_ms
    if ended.state == "done":
        moves.end(live, key, "succeeded", output=ended.output, artifact=ended.artifact, active_ms=active_ms)
        return
    live.set(key, active_ms=active_ms)
    if ended.state == "cancelled" and not live.run.cancelling:  # its kind gave up by itself
        fault = ended.error or StepFault(word="stopped", message="it was stopped, and nobody had asked for that")
        fail(moves, live, key, fault, retry=ended.retry)
    elif ended.state == "cancelled":
        moves.end(live, key, "cancelled", reason="the run was cancelled")
    elif ended.state == "lost" and not _tired(step):
        _begin_anew(moves, live, key, "it was cut off before it did anything")
    elif ended.state in {"lost", "unknown"}:
        _unknown(moves, live, key, ended)
    else:
        assert ended.error is not None  # noqa: S101 - the engine gives a failure its reason
        fail(moves, live, key, ended.error, retry=ended.retry)


def _write_end(moves: Moves, live: Live, attempt: Attempt, ended: Ended) -> None:
    changes: dict[str, Any] = {
        "state": ended.state, "ended_at": moves.now, "error": ended.error, "exit_code": ended.exit_code,
        "signal": ended.signal, "log_bytes": ended.log_bytes,
    }  # fmt: skip
    if ended.key in live.new_attempts:  # it began in this very transaction
        live.new_attempts.discard(ended.key)
        moves.tx.insert(replace(attempt, **changes))
    else:
        moves.tx.update(attempt, **changes)


def _keep(moves: Moves, attempt: Attempt, kept: list[Kept]) -> None:
    for each in kept:
        moves.tx.insert(Artifact(
            run=attempt.run, workspace_id=attempt.workspace_id, key=attempt.key, n=attempt.n, name=each.name,
            sha256=each.sha256, bytes=each.bytes, media_type=each.media_type,
        ))  # fmt: skip


def fail(moves: Moves, live: Live, key: str, fault: StepFault, *, retry: bool) -> None:
    """Have a step that failed wait for its next attempt, or end it if there is none."""
    spec, step = live.spec(key), live.steps[key]
    over = (
        spec.total_timeout is not None and step.active_ms >= parse_duration(spec.total_timeout).total_seconds() * 1000
    )
    tries = max(1, step.attempts - _cut_off(moves, step))  # a crash of ours is no failure of the step
    if live.run.cancelling or over or not retry or not retries.again(spec.retry, tries, fault.word):
        moves.end(live, key, "failed", error=fault)
        return
    due_ms = moves.now_ms + round(retries.wait(spec.retry, tries, _chance) * 1000)
    deadline_ms = _deadline_ms(moves, live, key)
    due = moves.instant(round(min(due_ms, deadline_ms)))
    live.set(key, error=fault)
    moves.free(live, key)
    means: Literal["again", "failed"] = "again" if due_ms < deadline_ms else "failed"
    wait(moves, live, key, Wait(run="", key="", kind="retry", due_at=due, due_means=means))


def _cut_off(moves: Moves, step: Step) -> int:
    """Return how many attempts of a step a crash ended; one that was adopted after it has an end of its own."""
    if not step.recoveries:
        return 0
    # by their ids, for of a fan-out the run has thousands
    where = "id > :first AND id < :last AND state IN ('lost', 'unknown')"
    return len(moves.tx.select(Attempt, where, first=f"{step.id}/", last=f"{step.id}0"))


def _begin_anew(moves: Moves, live: Live, key: str, why: str) -> None:
    moves.free(live, key)  # others of its fan-out may come before it now, and would wait for it
    live.set(key, status="pending", ready_at=None, reason=why)
    moves.revisit(live, key)


def _tired(step: Step) -> bool:
    """Tell whether a step was cut off too often to be begun again unasked: it may be what ends the daemon."""
    return step.recoveries > RECOVERIES


def _unknown(moves: Moves, live: Live, key: str, ended: Ended) -> None:
    """Do with a step that a crash left undecided what its `on_unknown` says."""
    spec = live.spec(key)
    message = "" if ended.error is None else ended.error.message
    if live.run.cancelling and live.steps[key].role != "compensation":  # as what waited for a decision when it was
        moves.end(live, key, "cancelled", reason=f"the run was cancelled, and a crash had cut it off: {message}")
        return
    tired = _tired(live.steps[key])
    if not tired and (spec.idempotent or spec.on_unknown == "rerun"):
        _begin_anew(moves, live, key, "a crash cut it off, and it may be done again")
    elif spec.on_unknown == "fail":
        moves.end(live, key, "failed", error=StepFault(word="unknown", message=message or "nobody saw its end"))
    elif spec.on_unknown == "assume_done" and not tired:
        moves.end(live, key, "succeeded", output=None, reason="a crash cut it off, and it is taken for done")
    else:
        prompt = f"The daemon ended while this step ran, and nobody can tell whether it was done: {message}"
        if tired:
            times = live.steps[key].recoveries
            prompt = f"The daemon ended {times} times while this step ran: look whether that is why, and what was done"
        wait(moves, live, key, Wait(
            run="", key="", kind="decision", prompt=prompt, choices=DECISIONS,
            shown={"step": key, "attempt": ended.n, "input": spec.input},
        ))  # fmt: skip


def recover(moves: Moves, run: str, key: str) -> Job | None:
    """Judge the attempt of an earlier start by its effect; return a job if one must look what became of it.

    Where only its kind could look, and is not there, its step stands pending beside the open attempt until it is.
    """
    live = moves.load(run)
    attempt, step = live.running[key], live.steps[key]
    kind = moves.kinds.get(step.kind)
    looks = attempt.state == "started" and attempt.effect in _LOOKED_AT
    moves.close_wait(live, key)
    if looks and not isinstance(kind, WorkKind):
        live.set(key, status="pending", ready_at=None)
        moves.revisit(live, key)
        return None
    live.set(key, status="running", recoveries=step.recoveries + 1)
    moves.revisit(live)
    if looks:
        _watch_deadline(moves, live, key)
        age = moves.now_ms - round(parse_instant(attempt.started_at).timestamp() * 1000)
        return job_of(live, attempt, "recover", max(0, age))
    if attempt.state == "intent" or attempt.effect in {"transactional", "repeatable", "keyed"}:
        end(moves, Ended(run=live.run.id, key=key, n=attempt.n, state="lost"))
    else:
        give_up(moves, live, key)
    return None


def leave_out(moves: Moves, live: Live, key: str) -> None:
    """Cancel a step that does not run, with its run."""
    if key in live.running:  # cut off, and nobody has looked yet what became of it
        give_up(moves, live, key)
    else:
        moves.end(live, key, "cancelled", reason="the run was cancelled")


def give_up(moves: Moves, live: Live, key: str) -> None:
    """End an attempt that was cut off, and that nothing can be found out about."""
    fault = StepFault(word="unknown", message="nobody saw its end")
    end(moves, Ended(run=live.run.id, key=key, n=live.running[key].n, state="unknown", error=fault))
