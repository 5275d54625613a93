"""One turn of the engine, in one transaction: results in, what follows from them, and the next attempts out.

The end of one step and the beginning of the next are one commit, and what ended together is written together.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from coder_local.api import Error, Transaction, Withheld
from coder_plugins.execution.artifacts.adapters import put
from coder_plugins.execution.machine import attempts, control, fanout, waiting
from coder_plugins.execution.machine.aside import forgive
from coder_plugins.execution.machine.attempts import Ended, Job, Kept
from coder_plugins.execution.machine.faults import ASIDE, RunFault, blame
from coder_plugins.execution.machine.live import Kinds, Live, Moves
from coder_plugins.execution.machine.making import under
from coder_plugins.execution.machine.settling import settle
from coder_plugins.execution.records import INLINE_LIMIT, LARGE
from coder_plugins.execution.runs.records import Boot, RunResumed, Step, StepFault, Wait

DUE_LIMIT = 500
"""Waits that one turn lets go; what is due beyond them comes in the next one."""
JUDGED_AT_ONCE = 250
"""Attempts of an earlier start that one transaction judges."""
BOOTS = 50
"""Starts that are kept on record."""
BUDGET = 0.1
"""Seconds after which a turn begins no more operations: others want the writer too."""


class Apply(NamedTuple):
    """An operation that is one commit with its result."""

    job: Job


class Prepared(NamedTuple):
    """What was found out before an effect."""

    job: Job
    facts: dict[str, Any]
    kept: list[Kept]


Work = Ended | Apply | Prepared


class Room(NamedTuple):
    """How many more attempts may run."""

    processes: int
    others: int

    def less(self, others: int) -> Room:
        """Return what is left of it when so many others have taken their places."""
        return Room(self.processes, max(0, self.others - others))


NO_ROOM = Room(0, 0)


class Turn(NamedTuple):
    """What a turn came to."""

    jobs: list[Job]
    """Attempts that are on disk now, to be carried out."""
    go: list[bool]
    """For each `Prepared`, in order: whether its attempt goes on."""
    stop: list[tuple[str, int | None]]
    """Runs whose attempts must be stopped, with the milliseconds that they are given."""
    left: list[Work]
    """What there was no time for."""
    due: str | None
    """When the next wait is due."""
    more: bool
    """Whether there was more to do than one turn does."""
    overdue: list[tuple[str, str]]
    """Steps that work, run and key, whose deadline has passed: they must be stopped."""


def turn(
    tx: Transaction,
    kinds: Kinds,
    boot: str,
    work: Sequence[Work],
    room: Room,
    running: Sequence[str],
    machine: str,
    at_once: bool,
) -> Turn:
    """Write what ended, let go what is due, and claim what may begin.

    `boot` is the start of the engine, `machine` that of the machine, `running` the runs with attempts of this engine.
    With `at_once` operations that are one commit with their results run in the turn that claims them: intent, effect
    and result are on disk together or not at all. Then a turn that applies what was left claims nothing, for what it
    did is not in history yet, where an operation may look for it.
    """
    applied, left = _apply(tx, [each for each in work if isinstance(each, Apply)])
    puts_off = at_once and bool(applied)
    room = NO_ROOM if puts_off else room.less(len(left))
    due, fired = _next_due(tx), 0
    with Moves(tx, kinds) as moves:
        go = [
            attempts.prepared(moves, job.run, job.key, job.n, facts, kept)
            for job, facts, kept in (each for each in work if isinstance(each, Prepared))
        ]
        for ended in (*applied, *(each for each in work if isinstance(each, Ended))):
            attempts.end(moves, ended)
        if due is not None and due <= moves.now:
            fired = _fire_due(moves)
        settle(moves)
        jobs = _claim(moves, (boot, machine), room)
        more = fired >= DUE_LIMIT or puts_off
        if at_once:
            full = len(jobs) >= room.others
            jobs, done = _do_at_once(moves, jobs)
            more = more or (done and (full or any(live.ready for live in moves.lives.values())))
        stop = _to_stop(moves, running)
    if moves.times_moved:
        due = _next_due(tx)
    return Turn(jobs, go, stop, [*left], due, more, moves.overdue)


def is_one_commit(job: Job) -> bool:
    """Tell whether an attempt changes nothing but the database, and so is one commit with its result."""
    return job.effect == "transactional" and job.state == "started"


def _do_at_once(moves: Moves, jobs: list[Job]) -> tuple[list[Job], bool]:
    """Do what was just claimed and is one commit with its result; return the rest, and whether anything was done."""
    done, left = _apply(moves.tx, [Apply(job) for job in jobs if is_one_commit(job)], without="execution")
    for ended in done:
        with blame(ended.run):
            attempts.end(moves, ended)
    settle(moves)
    return [*(job for job in jobs if not is_one_commit(job)), *(job for (job,) in left)], bool(done)


def _apply(tx: Transaction, applies: Sequence[Apply], *, without: str = "") -> tuple[list[Ended], list[Apply]]:
    """Run operations, each in a part of its own, so that one that fails takes back only itself.

    Return also those that were left: for want of time, or because they call what they are to do `without`. What the
    turn itself has moved is not in the database yet, so whoever looked at runs, or moved them, would be led astray.
    """
    begun = time.monotonic()
    ended: list[Ended] = []
    left: list[Apply] = []
    for index, each in enumerate(applies):
        if (ended or left) and time.monotonic() - begun > BUDGET:
            return ended, [*left, *applies[index:]]
        try:
            ended.append(_apply_one(tx, each.job, without))
        except Withheld:
            left.append(each)
    return ended, left


def _apply_one(tx: Transaction, job: Job, without: str) -> Ended:
    operation, input = job.input["operation"], job.input.get("input", {})
    begun, cause = time.monotonic(), f"execution.step:{job.run}"
    try:
        with tx.acting(job.rights, cause, without=without) as part, under(job.run, job.key):
            output = part.call(operation, **input)
    except Error as error:
        fault = StepFault(word=error.kind, message=error.message, data=error.to_wire())
        return Ended(run=job.run, key=job.key, n=job.n, state="failed", error=fault, active_ms=_ms(begun))
    ended = Ended(run=job.run, key=job.key, n=job.n, state="done", output=output, active_ms=_ms(begun))
    encoded = msgspec.json.encode(output)
    if len(encoded) <= INLINE_LIMIT:
        return ended
    kept = Kept(name=LARGE, sha256=put(tx.folder, encoded), bytes=len(encoded), media_type="application/json")
    return msgspec.structs.replace(ended, output=None, artifact=kept.sha256, kept=[kept])


def _ms(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


def _fire_due(moves: Moves) -> int:
    """Do what is to be done for each wait that is due, and stop the runs whose deadline has passed."""
    due = moves.tx.select(Wait, f"status = 'open' AND due_at <= :now AND run NOT IN {ASIDE}", order="due_at, id",
                          limit=DUE_LIMIT, now=moves.now)  # fmt: skip
    for each in due:
        live = _load(moves, each.run)
        waits = live.waits.get(each.key)
        if waits is None or waits.id != each.id:
            continue  # what was let go before it in this turn has ended it
        with blame(each.run):
            waiting.fire(moves, live, waits)
            if waits.kind == "child" and waits.name is not None:
                child = moves.load(waits.name)
                if not child.ended and not child.run.cancelling:
                    control.cancel(moves, child, grace_ms=None, compensate=False)
    late = moves.tx.rows(
        "SELECT id FROM execution_runs WHERE deadline_at <= :now AND NOT faulted AND deleted_at IS NULL LIMIT 100",
        now=moves.now,
    )
    for (id_,) in late:
        with blame(id_):
            live = moves.load(id_)
            live.set_run(deadline_at=None)
            moves.times_moved = True
            if not live.run.cancelling:  # else how it is stopped was said already
                control.cancel(moves, live, grace_ms=None, compensate=False, timed_out=True)
    return len(due)


def _next_due(tx: Transaction) -> str | None:
    found = tx.rows(
        "SELECT min(due) FROM (SELECT min(due_at) AS due FROM execution_waits"  # noqa: S608 - the words are our own
        f" WHERE status = 'open' AND due_at > '' AND deleted_at IS NULL AND run NOT IN {ASIDE}"
        " UNION ALL SELECT min(deadline_at) FROM execution_runs WHERE deadline_at > '' AND NOT faulted"
        " AND deleted_at IS NULL)"
    )
    return found[0][0] if found else None


def _claim(moves: Moves, boot: tuple[str, str], room: Room) -> list[Job]:
    """Begin attempts at ready steps as far as there is room, in turn for each workspace, the most urgent first."""
    jobs: list[Job] = []
    free = {True: room.processes, False: room.others}
    stored = _stored_queues(moves)
    again = True
    while again:
        again = False
        for process in (True, False):
            workspaces = [workspace for is_process, workspace in stored if bool(is_process) == process]
            while free[process] and (picked := _pick(moves, workspaces, process=process, limit=free[process])):
                found = [_claim_one(moves, live, key, boot) for live, key in picked]
                begun = [job for job in found if job is not None]
                jobs += begun
                free[process] -= len(begun)
                if len(begun) == len(picked):
                    break  # that was all there is, or all there is room for
                settle(moves)
                again = True  # one that could not begin may be what others waited for, in the other queue too
    return jobs


def _claim_one(moves: Moves, live: Live, key: str, boot: tuple[str, str]) -> Job | None:
    with blame(live.run.id):
        if live.steps[key].role == "fan_out":
            fanout.expand(moves, live, key)
            return None
        return attempts.claim(moves, live, key, boot)


def _stored_queues(moves: Moves) -> list[tuple[Any, ...]]:
    """Return which queues have ready steps on disk: whether they are of processes, and of which workspace."""
    return moves.tx.rows(
        "SELECT DISTINCT process, workspace_id FROM execution_steps WHERE status = 'ready' AND deleted_at IS NULL"
    )


def _pick(moves: Moves, workspaces: Sequence[str], *, process: bool, limit: int) -> list[tuple[Live, str]]:
    """Return ready steps. What this transaction has moved is not in the database yet, so both are looked at."""
    ready: dict[str, list[_Place]] = {}
    for live in moves.lives.values():
        if live.ready and not live.run.faulted:
            steps = (step for step in map(live.steps.__getitem__, live.ready) if step.process == process)
            first = heapq.nsmallest(limit, steps, key=_order)  # of a fan-out there may be thousands
            places = (_Place(-step.priority, step.ready_at or "", step.run, step.position, step.key) for step in first)
            ready.setdefault(live.run.workspace_id, []).extend(places)
    for workspace, *fields in _stored_ready(moves, workspaces, process=process, limit=limit):
        ready.setdefault(workspace, []).append(_Place(*fields))
    return [
        (_load(moves, place.run), place.key) for place in _in_turn([sorted(each) for each in ready.values()], limit)
    ]


def _order(step: Step) -> tuple[int, str, int]:
    """Return how the steps of one run compare as they come to their turns."""
    return (-step.priority, step.ready_at or "", step.position)


def _load(moves: Moves, run: str) -> Live:
    with blame(run):
        return moves.load(run)


class _Place(NamedTuple):
    """Where a ready step stands in the queue of its workspace: places compare as they come to their turns."""

    urgency: int
    """The smaller, the sooner."""
    ready_at: str
    run: str
    position: int
    key: str


def _stored_ready(moves: Moves, workspaces: Sequence[str], *, process: bool, limit: int) -> list[tuple[Any, ...]]:
    """Return the ready steps of runs that this transaction has not loaded."""
    found: list[tuple[Any, ...]] = []
    for workspace in workspaces:
        found += moves.tx.rows(
            "SELECT workspace_id, -priority, ready_at, run, position, key FROM execution_steps"  # noqa: S608 - the words are our own
            f" WHERE status = 'ready' AND process = :process AND workspace_id = :workspace AND deleted_at IS NULL"
            f" AND run NOT IN {ASIDE} AND run NOT IN (SELECT value FROM json_each(:loaded))"
            " ORDER BY priority DESC, ready_at, run, position LIMIT :limit",
            process=process,
            workspace=workspace,
            loaded=list(moves.lives),
            limit=limit,
        )
    return found


def _in_turn(queues: list[list[_Place]], limit: int) -> Iterable[_Place]:
    """Yield the first of each queue, then the second of each, and so on."""
    taken = 0
    for place in range(max(map(len, queues), default=0)):
        for queue in queues:
            if place < len(queue) and taken < limit:
                taken += 1
                yield queue[place]


def _to_stop(moves: Moves, running: Sequence[str]) -> list[tuple[str, int | None]]:
    if not running:
        return []
    found = moves.tx.rows(
        "SELECT id, grace_ms FROM execution_runs WHERE id IN (SELECT value FROM json_each(:ids)) AND cancelling",
        ids=list(running),
    )
    known: dict[str, int | None] = dict(found)
    known |= {live.run.id: live.run.grace_ms for live in moves.lives.values() if live.run.cancelling and live.running}
    # what undoes a run is not stopped with it: all else of the run has ended when that begins
    return [(id_, grace) for id_, grace in known.items() if not _is_undone(moves, id_)]


def _is_undone(moves: Moves, run: str) -> bool:
    """Tell whether a run undoes what it did; of one that cannot be loaded, what it has running must be stopped."""
    try:
        return bool(_load(moves, run).undoing)
    except RunFault:
        return False


class Begun(NamedTuple):
    """A start of the engine, or what one look at the attempts of an earlier one came to."""

    boot: str
    jobs: list[Job]
    """Attempts to be looked after: nobody knows what became of them."""
    after: str | None
    """The last attempt that was judged; None when there are no more."""
    clean: bool = True
    """Whether the start before came to an orderly end."""


def begin(tx: Transaction, kinds: Kinds, pid: int, forgiving: bool) -> Begun:
    """Note a start of the engine, and judge the first of the attempts that an earlier one left.

    `forgiving` has the runs that the machine failed at tried again: what was wrong may be mended.
    """
    if forgiving:
        forgive(tx)
    kept = "SELECT id FROM execution_boots WHERE deleted_at IS NULL ORDER BY id DESC LIMIT :kept"
    for old in tx.select(Boot, f"id NOT IN ({kept})", limit=BOOTS, kept=BOOTS):
        tx.delete(old)
    clean = all(before.stopped_at is not None for before in tx.select(Boot, order="id DESC", limit=1))
    return judge(tx, kinds, tx.insert(Boot(pid=pid)).id, "", "the daemon was started again")._replace(clean=clean)


def judge(tx: Transaction, kinds: Kinds, boot: str, after: str, reason: str) -> Begun:
    """Judge attempts that an earlier start left, some at a time: there may be thousands, and others want the writer.

    After the last of them, what blocked runs is tried again. One whose kind is not there is left to a later look.
    """
    cut_off = tx.rows(
        "SELECT id, run, key FROM execution_attempts"  # noqa: S608 - the words are our own
        f" WHERE state IN ('intent', 'started') AND boot <> :boot AND id > :after AND deleted_at IS NULL"
        f" AND run NOT IN {ASIDE} ORDER BY id LIMIT :limit",
        boot=boot,
        after=after,
        limit=JUDGED_AT_ONCE,
    )
    more = len(cut_off) == JUDGED_AT_ONCE
    with Moves(tx, kinds) as moves:
        for run in dict.fromkeys(run for _, run, _ in cut_off):
            moves.say(RunResumed(run=run, reason=reason))
        found = [_judge_one(moves, run, key) for _, run, key in cut_off]
        jobs = [job for job in found if job is not None]
        if not more:
            _unblock(moves)
        settle(moves)
    return Begun(boot, jobs, cut_off[-1][0] if more else None)


def _judge_one(moves: Moves, run: str, key: str) -> Job | None:
    with blame(run):
        return attempts.recover(moves, run, key)


def _unblock(moves: Moves) -> None:
    blocked = (
        "SELECT id FROM execution_runs WHERE status = 'blocked' AND finished_at IS NULL AND NOT faulted"
        " AND deleted_at IS NULL"
    )
    for (id_,) in moves.tx.rows(blocked):
        with blame(id_):
            control.try_again(moves, moves.load(id_), "plugins may have changed")


def end(tx: Transaction, boot: str) -> None:
    """Note an orderly end of the engine."""
    found = tx.find(Boot, boot)
    if found is not None:
        tx.update(found, stopped_at=tx.now())
