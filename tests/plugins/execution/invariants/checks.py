"""The invariants of execution, one function for each, over the tables of any database.

Each returns what does not hold, in words; nothing if all is well. They may be asked at any moment, between any two
commits; `nothing_stands_still` only when the engine has nothing left to do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any

ENDED_RUN = "('succeeded', 'failed', 'cancelled', 'timed_out')"
ENDED_STEP = "('succeeded', 'reused', 'skipped', 'failed', 'cancelled')"
OPEN = "('intent', 'started')"


def effects_had_an_intent(base: sqlite3.Connection, effects: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """E1: no effect without a durable intent. `effects` are run, key and attempt of all that happened outside."""
    known = set(base.execute("SELECT run, key, n FROM execution_attempts"))
    for effect in effects:
        if effect not in known:
            yield f"E1: {effect} had an effect, and no attempt of that number is on disk"


def results_stand(base: sqlite3.Connection) -> Iterator[str]:
    """E2: a result once committed is never computed again."""
    for run, key, done, last, at in base.execute(
        "SELECT run, key, count(*) FILTER (WHERE state = 'done'), max(n), max(n) FILTER (WHERE state = 'done')"
        " FROM execution_attempts GROUP BY run, key HAVING max(state = 'done')"
    ):
        if done > 1 or last > at:
            yield f"E2: {run}/{key} was done in attempt {at}, {done} times, and there are attempts up to {last}"
    for run, key, status in base.execute(
        "SELECT s.run, s.key, s.status FROM execution_attempts a"
        " JOIN execution_steps s ON s.run = a.run AND s.key = a.key WHERE a.state = 'done' AND s.status <> 'succeeded'"
    ):
        yield f"E2: {run}/{key} was done, and its step is {status}"


def one_attempt_at_a_time(base: sqlite3.Connection) -> Iterator[str]:
    """E3: at most one live attempt of a step, and only of one that runs."""
    for run, key, count in base.execute(
        f"SELECT run, key, count(*) FROM execution_attempts WHERE state IN {OPEN} GROUP BY run, key HAVING count(*) > 1"
    ):
        yield f"E3: {run}/{key} has {count} attempts that go on"
    for id_, status in base.execute(
        "SELECT a.id, s.status FROM execution_attempts a JOIN execution_steps s ON s.run = a.run AND s.key = a.key"
        f" WHERE a.state IN {OPEN} AND s.status <> 'running' AND NOT (s.status = 'pending' AND a.boot <>"
        " (SELECT max(id) FROM execution_boots))"  # cut off, and its kind, which could look, is not there
    ):
        yield f"E3: attempt {id_} goes on, and its step is {status}"
    for run, key, attempts, last, count in base.execute(
        "SELECT s.run, s.key, s.attempts, max(a.n), count(a.n) FROM execution_steps s"
        " JOIN execution_attempts a ON a.run = s.run AND a.key = s.key GROUP BY s.run, s.key"
    ):
        if not attempts == last == count:
            yield f"E3: {run}/{key} counts {attempts} attempts, and has {count} up to number {last}"


def once_means_once(base: sqlite3.Connection) -> Iterator[str]:
    """E4: what may happen only once is begun again only after a recorded decision, of a person or of the step's policy.

    An attempt that failed is one whose end was seen: the step's own retries may follow it.
    """
    for run, key, lost, unknown in base.execute(
        "SELECT run, key, count(*) FILTER (WHERE state = 'lost' AND facts = '{}'),"
        " count(*) FILTER (WHERE state = 'unknown' AND n < (SELECT max(n) FROM execution_attempts b"
        " WHERE b.run = a.run AND b.key = a.key))"
        " FROM execution_attempts a WHERE effect = 'once' GROUP BY run, key"
    ):
        if lost:
            yield f"E4: {run}/{key} may happen only once, and was begun anew as if it had never begun"
        decided = _one(
            base,
            "SELECT count(*) FROM execution_waits WHERE run = ? AND key = ? AND kind = 'decision'"
            " AND decision = 'retry' AND decided_by IS NOT NULL",
            run,
            key,
        )
        if unknown > decided and not _may_rerun(base, run, key):
            yield f"E4: {run}/{key} was begun again {unknown} times, and {decided} times somebody said so"


def _may_rerun(base: sqlite3.Connection, run: str, key: str) -> bool:
    body = _one(
        base,
        "SELECT d.body FROM execution_definitions d JOIN execution_runs r ON r.definition = d.id WHERE r.id = ?",
        run,
    )
    base_key = key.rstrip("'").partition("[")[0]
    steps: list[dict[str, Any]] = json.loads(body)["steps"]
    return any(
        step["key"] == base_key and (step.get("idempotent") or step.get("on_unknown") == "rerun") for step in steps
    )


def changes_and_results_are_one(base: sqlite3.Connection) -> Iterator[str]:
    """E5: a change of our own database happened exactly as often as its result says: once, or not at all.

    The steps concerned are those that call `world.mark` with their own id for a label.
    """
    marks = dict(base.execute("SELECT label, count(*) FROM world_marks GROUP BY label"))
    done = dict(
        base.execute(
            "SELECT json_extract(input, '$.input.label'), count(*) FILTER (WHERE state = 'done')"
            " FROM execution_attempts WHERE effect = 'transactional' GROUP BY 1"
        )
    )
    for label in marks.keys() | done.keys():
        if marks.get(label, 0) != done.get(label, 0) or marks.get(label, 0) > 1:
            yield f"E5: {label} was changed {marks.get(label, 0)} times, and done {done.get(label, 0)} times"


def the_end_is_the_end(base: sqlite3.Connection) -> Iterator[str]:
    """E6: a run that has ended has no attempt that goes on, no open wait, no lock, and no step that has not ended."""
    for what, sql in (
        ("attempt", f"SELECT a.run, a.key FROM execution_attempts a {{}} a.run AND a.state IN {OPEN}"),
        ("wait", "SELECT w.run, w.key FROM execution_waits w {} w.run AND w.status = 'open'"),
        ("lock", "SELECT l.run, l.key FROM execution_locks l {} l.run"),
        ("open step", f"SELECT s.run, s.key FROM execution_steps s {{}} s.run AND s.status NOT IN {ENDED_STEP}"),
    ):
        ended = f"JOIN execution_runs r ON r.status IN {ENDED_RUN} AND r.id ="
        for run, key in base.execute(sql.format(ended)):
            yield f"E6: run {run} has ended, and {key} has an {what}"
    for run, key, status in base.execute(
        "SELECT l.run, l.key, s.status FROM execution_locks l JOIN execution_steps s ON s.run = l.run AND s.key = l.key"
        " WHERE s.status NOT IN ('running', 'needs_decision')"
    ):
        yield f"E6: step {run}/{key} is {status}, and holds a lock"
    for run, key, status in base.execute(
        "SELECT w.run, w.key, s.status FROM execution_waits w JOIN execution_steps s ON s.run = w.run AND s.key = w.key"
        " WHERE w.status = 'open' AND s.status NOT IN ('waiting', 'needs_decision', 'ready')"
        " AND NOT (s.status = 'running' AND w.kind = 'deadline')"
    ):
        yield f"E6: step {run}/{key} is {status}, and has an open wait"
    for id_, finished in base.execute(
        f"SELECT id, finished_at FROM execution_runs WHERE (status IN {ENDED_RUN}) <> (finished_at IS NOT NULL)"
    ):
        yield f"E6: run {id_} has its end at {finished}, which its status does not say"


def something_will_move_it(base: sqlite3.Connection) -> Iterator[str]:
    """E7: every run that has not ended has something that will move it, and so has each of its steps."""
    for run, status in base.execute(
        f"SELECT id, status FROM execution_runs r WHERE status NOT IN {ENDED_RUN} AND NOT paused"
        " AND status <> 'blocked'"
        " AND NOT (status = 'queued' AND EXISTS (SELECT 1 FROM execution_runs o WHERE o.id <> r.id"
        f" AND o.concurrency_key = r.concurrency_key AND o.status NOT IN ('queued', {ENDED_RUN[1:]}))"
        " AND NOT EXISTS (SELECT 1 FROM execution_steps s WHERE s.run = r.id AND s.status = 'ready')"
        f" AND NOT EXISTS (SELECT 1 FROM execution_attempts a WHERE a.run = r.id AND a.state IN {OPEN})"
        " AND NOT EXISTS (SELECT 1 FROM execution_waits w WHERE w.run = r.id AND w.status = 'open')"
    ):
        yield f"E7: run {run} is {status}, and nothing will move it"
    for run, key in base.execute(
        "SELECT run, key FROM execution_steps s WHERE status = 'running' AND role <> 'fan_out' AND NOT EXISTS"
        f" (SELECT 1 FROM execution_attempts a WHERE a.run = s.run AND a.key = s.key AND a.state IN {OPEN})"
    ):
        yield f"E7: step {run}/{key} runs, and has no attempt"
    for run, key, status in base.execute(
        "SELECT run, key, status FROM execution_steps s WHERE status IN ('waiting', 'needs_decision') AND NOT EXISTS"
        " (SELECT 1 FROM execution_waits w WHERE w.run = s.run AND w.key = s.key AND w.status = 'open')"
    ):
        yield f"E7: step {run}/{key} is {status}, and waits for nothing"
    yield from _waits_have_their_ends(base)


def _waits_have_their_ends(base: sqlite3.Connection) -> Iterator[str]:
    for run, key, name in base.execute(
        "SELECT w.run, w.key, w.name FROM execution_waits w WHERE w.status = 'open' AND w.kind = 'lock'"
        " AND NOT EXISTS (SELECT 1 FROM execution_locks l WHERE l.id = w.workspace_id || '/' || w.name)"
    ):
        if not _taker(base, name):
            yield f"E7: step {run}/{key} waits for {name}, which nobody holds or is about to take"
    for run, key, name in base.execute(
        "SELECT w.run, w.key, w.name FROM execution_waits w WHERE w.status = 'open' AND w.kind = 'child'"
        f" AND NOT EXISTS (SELECT 1 FROM execution_runs r WHERE r.id = w.name AND r.status NOT IN {ENDED_RUN})"
    ):
        yield f"E7: step {run}/{key} waits for run {name}, which has ended"
    for run, key, name in base.execute(
        "SELECT w.run, w.key, w.name FROM execution_waits w JOIN execution_signals s ON s.run = w.run"
        " AND s.name = w.name AND s.consumed_by IS NULL WHERE w.status = 'open' AND w.kind = 'signal'"
    ):
        yield f"E7: step {run}/{key} waits for {name}, which was sent"


def _taker(base: sqlite3.Connection, resource: str) -> bool:
    """Tell whether a step that wants a resource will begin: its run is not held, and it is ready or in the queue."""
    for body, run in base.execute(
        "SELECT d.body, r.id FROM execution_runs r JOIN execution_definitions d ON d.id = r.definition"
        f" WHERE r.status NOT IN {ENDED_RUN} AND NOT r.paused"
    ):
        wanting = {step["key"] for step in json.loads(body)["steps"] if resource in step.get("resources", ())}
        for (key,) in base.execute(
            "SELECT key FROM execution_steps WHERE run = ? AND (status = 'ready'"
            " OR (status = 'pending' AND ready_at IS NOT NULL))",
            (run,),
        ):
            if key.partition("[")[0] in wanting:
                return True
    return False


def nothing_stands_still(base: sqlite3.Connection, now: str) -> Iterator[str]:
    """E7, when the engine has nothing left to do: nothing is due or ready that nobody attends to."""
    for run, key, kind, due in base.execute(
        "SELECT run, key, kind, due_at FROM execution_waits WHERE status = 'open' AND due_at <= ?", (now,)
    ):
        yield f"E7: step {run}/{key} waits for its {kind}, which was due at {due}, and it is {now}"
    for (run,) in base.execute(
        f"SELECT id FROM execution_runs WHERE deadline_at <= ? AND status NOT IN {ENDED_RUN} AND NOT cancelling", (now,)
    ):
        yield f"E7: the deadline of run {run} has passed, and it is not stopped"
    busy = _one(
        base,
        "SELECT count(*) FROM execution_attempts a JOIN execution_steps s ON s.run = a.run AND s.key = a.key"
        f" WHERE a.state IN {OPEN} AND s.process",
    )
    for run, key, process in base.execute("SELECT run, key, process FROM execution_steps WHERE status = 'ready'"):
        if not (process and busy):
            yield f"E7: step {run}/{key} is ready, there is room, and it does not begin"
    for (run,) in base.execute(
        "SELECT id FROM execution_runs r WHERE status = 'queued' AND NOT paused AND NOT EXISTS (SELECT 1 FROM"
        " execution_runs o WHERE o.id <> r.id AND o.concurrency_key = r.concurrency_key"
        f" AND o.status NOT IN ('queued', {ENDED_RUN[1:]})"
    ):
        yield f"E7: run {run} is queued, and nothing runs before it"


def one_engine(base: sqlite3.Connection) -> Iterator[str]:
    """E8: one engine for each database: whatever goes on was begun, or taken over after a crash, by its last start."""
    last = _one(base, "SELECT max(id) FROM execution_boots")
    for id_, boot in base.execute(
        "SELECT a.id, a.boot FROM execution_attempts a JOIN execution_steps s ON s.run = a.run AND s.key = a.key"
        f" WHERE a.state IN {OPEN} AND a.boot <> ?"
        " AND NOT (a.effect IN ('adoptable', 'checkable') AND s.recoveries > 0)",
        (last,),
    ):
        yield f"E8: attempt {id_} goes on, and belongs to start {boot}, not to {last}"
    for run, key in base.execute(
        "SELECT a.run, a.key FROM execution_attempts a JOIN execution_attempts b ON b.run = a.run AND b.key = a.key"
        " AND b.n > a.n AND b.boot < a.boot"
    ):
        yield f"E8: {run}/{key} was begun by a start after a later one had begun it"


def each_time_comes_once(base: sqlite3.Connection) -> Iterator[str]:
    """E9: a moment that is waited for comes once: a timer never fires early, a retry comes once for each failure."""
    for run, key, count in base.execute(
        "SELECT run, key, count(*) FROM execution_waits WHERE kind = 'timer' GROUP BY run, key HAVING count(*) > 1"
    ):
        yield f"E9: {run}/{key} waited for its time {count} times"
    for run, key, due, at in base.execute(
        "SELECT w.run, w.key, w.due_at, s.finished_at FROM execution_waits w JOIN execution_steps s ON s.run = w.run"
        " AND s.key = w.key WHERE w.kind = 'timer' AND s.status = 'succeeded' AND s.finished_at < w.due_at"
    ):
        yield f"E9: {run}/{key} was due at {due}, and came at {at}"
    for run, key, waits, failed in base.execute(
        "SELECT w.run, w.key, count(*), (SELECT count(*) FROM execution_attempts a WHERE a.run = w.run"
        " AND a.key = w.key AND a.state = 'failed') FROM execution_waits w WHERE w.kind = 'retry' GROUP BY w.run, w.key"
    ):
        if waits > failed:
            yield f"E9: {run}/{key} waited {waits} times to be tried again, and failed {failed} times"
    for run, key, count in base.execute(
        "SELECT run, consumed_by, count(*) FROM execution_signals WHERE consumed_by IS NOT NULL"
        " GROUP BY run, consumed_by HAVING count(*) > 1"
    ):
        yield f"E9: {run}/{key} took {count} signals"


def what_undoes_is_not_stopped(base: sqlite3.Connection) -> Iterator[str]:
    """A compensation comes to an end of its own, whatever becomes of its run, and a run ends after all of them."""
    for run, key in base.execute(
        "SELECT run, key FROM execution_steps WHERE role = 'compensation' AND status = 'cancelled'"
    ):
        yield f"{run}/{key} undoes a step, and was stopped"


class Kept:
    """Remembers what has ended: an end never changes (E2, E6)."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, ...]] = {}

    def ends_stand(self, base: sqlite3.Connection) -> Iterator[str]:
        """Yield what has changed since it was last looked at."""
        for id_, *now in base.execute(
            f"SELECT id, status, output, error, finished_at FROM execution_steps WHERE status IN {ENDED_STEP} UNION ALL"
            f" SELECT id, status, output, error, finished_at FROM execution_runs WHERE status IN {ENDED_RUN}"
        ):
            if self._seen.setdefault(id_, tuple(now)) != tuple(now):
                yield f"E2: {id_} had ended as {self._seen[id_]}, and is {tuple(now)} now"
        for id_ in self._seen:
            if "/" in id_ and not _one(
                base, f"SELECT count(*) FROM execution_steps WHERE id = ? AND status IN {ENDED_STEP}", id_
            ):
                yield f"E2: {id_} had ended, and goes on again"


ALWAYS: tuple[Callable[[sqlite3.Connection], Iterator[str]], ...] = (
    results_stand,
    one_attempt_at_a_time,
    once_means_once,
    the_end_is_the_end,
    something_will_move_it,
    one_engine,
    each_time_comes_once,
    what_undoes_is_not_stopped,
)
"""What holds in every database."""


def always(base: sqlite3.Connection) -> list[str]:
    """Return all that does not hold of what always must."""
    return [fault for check in ALWAYS for fault in check(base)]


def _one(base: sqlite3.Connection, sql: str, *values: Any) -> Any:
    return base.execute(sql, values).fetchone()[0]
