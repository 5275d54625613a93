"""A run in memory, while one transaction moves it.

Every transition is made on a `Live` and written by `Moves.save`, at the end of the transaction. A copy is kept from one
transaction to the next, and taken again only if the row still has the revision that the copy was written with: a
transaction that was rolled back after it, even at the commit, leaves the row behind and the copy is dropped.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from coder_local.api import (
    Conflict,
    Event,
    Instant,
    NotFound,
    StepKind,
    Transaction,
    format_instant,
    parse_instant,
    replace,
)
from coder_plugins.execution.definitions.records import Definition, StepSpec
from coder_plugins.execution.records import ENDED_RUN, ENDED_STEP, GOOD_STEP
from coder_plugins.execution.rules.graph import Graph
from coder_plugins.execution.runs.records import Attempt, Lock, Run, Step, StepFault, StepFinished, Wait

from .faults import ASIDE, blame

Kinds = Mapping[str, StepKind[Any]]

_KEPT_RUNS = 256
_KEPT_GRAPHS = 256
_BEGUN = frozenset({"ready", "running", "waiting", "needs_decision"})
_lives: OrderedDict[str, Live] = OrderedDict()
_graphs: OrderedDict[str, tuple[Graph, int]] = OrderedDict()


class Live:
    """One run with its steps and open waits."""

    def __init__(self, run: Run, graph: Graph, parallel: int) -> None:
        self.run = run
        self.graph = graph
        self.parallel = parallel
        self.steps: dict[str, Step] = {}
        self.items: dict[str, list[str]] = {}
        """Keys of the steps of each fan-out."""
        self.undoing: list[str] = []
        """Compensations, in the order in which they run."""
        self.undone = 0
        """How many of them have ended; they do in their order."""
        self.waits: dict[str, Wait] = {}
        """Open waits, by step."""
        self.running: dict[str, Attempt] = {}
        """Attempts that go on, by step."""
        self.new_attempts: set[str] = set()
        """Steps whose attempts began in this transaction, and are not written yet."""
        self.todo: deque[str] = deque()
        """Steps to be looked at: what they need has moved."""
        self.stored: dict[str, Step] = {}
        """Steps as they are in the database."""
        self.stored_run: Run | None = run if run.rev else None
        self.touched: dict[str, set[str]] = {}
        """Steps that were moved, with the names of the fields that were."""
        self.run_touched: set[str] = set()
        self.dirty = False
        self.count: Counter[str] = Counter()
        """How many steps have each status."""
        self.ready: set[str] = set()
        """Steps that are ready."""
        self.unended = 0
        self.ends = 0
        """How many ends there were: the next one's place in their order, less one."""
        self.left: Counter[str] = Counter()
        """How many steps of each fan-out have not ended."""
        self.good: Counter[str] = Counter()
        """How many steps of each fan-out succeeded."""
        self.begun: Counter[str] = Counter()
        """How many steps of each fan-out have begun and not ended."""
        self.held: dict[str, deque[str]] = {}
        """Steps of each fan-out that wait for those before them, for no more may run at once."""
        self.queue: deque[str] = deque()
        """Steps that could be ready, but that many of the run are already."""

    def add(self, step: Step) -> None:
        """Take in a step."""
        self.steps[step.key] = step
        self.count[step.status] += 1
        if step.status == "ready":
            self.ready.add(step.key)
        ended = step.status in ENDED_STEP
        self.unended += not ended
        self.ends = max(self.ends, step.ended or 0)
        if step.role == "compensation":
            self.undoing.append(step.key)
            self.undone += ended
        if step.role == "item" and step.parent is not None:
            self.items.setdefault(step.parent, []).append(step.key)
            self.left[step.parent] += not ended
            self.good[step.parent] += step.status in GOOD_STEP
            self.begun[step.parent] += step.status in _BEGUN

    def create(self, step: Step) -> None:
        """Take in a step that is new."""
        self.add(step)
        self.touched.setdefault(step.key, set())
        self.dirty = True

    @property
    def active(self) -> int:
        """How many steps are ready or run; a fan-out itself is not among them."""
        return self.count["ready"] + self.count["running"] - self.fans

    @property
    def fans(self) -> int:
        """How many fan-outs are open."""
        return sum(1 for key in self.items if self.steps[key].status == "running")

    def spec(self, key: str) -> StepSpec:
        """Return how a step is written; one of a fan-out as its fan-out, a compensation as its own."""
        step = self.steps[key]
        if step.role != "compensation":
            return self.graph.specs[step.parent if step.role == "item" and step.parent else key]
        assert step.parent is not None  # noqa: S101 - a compensation has the step that it undoes
        undoes = self.steps[step.parent]
        spec = self.graph.specs[undoes.parent if undoes.role == "item" and undoes.parent else undoes.key]
        assert spec.compensate is not None  # noqa: S101 - or it would not have been made
        how = spec.compensate
        return StepSpec(key=spec.key, kind=how.kind, input=how.input, timeout=how.timeout, idempotent=spec.idempotent)

    def set(self, key: str, **changes: Any) -> Step:
        """Change a step."""
        before = self.steps[key]
        step = self.steps[key] = replace(before, **changes)
        if step.status != before.status:
            self.count[before.status] -= 1
            self.count[step.status] += 1
            if step.status == "ready":
                self.ready.add(key)
            else:
                self.ready.discard(key)
            if step.role == "item" and step.parent is not None:
                self.begun[step.parent] += (step.status in _BEGUN) - (before.status in _BEGUN)
        self.touched.setdefault(key, set()).update(changes)
        self.dirty = True
        return step

    def set_run(self, **changes: Any) -> None:
        """Change the run itself."""
        self.run = replace(self.run, **changes)
        self.run_touched.update(changes)
        self.dirty = True

    @property
    def ended(self) -> bool:
        """Whether the run is at its end."""
        return self.run.status in ENDED_RUN

    def with_status(self, *words: str) -> list[Step]:
        """Return the steps that have one of some statuses, in order."""
        return sorted((step for step in self.steps.values() if step.status in words), key=lambda step: step.position)


class Moves:
    """The transitions of one transaction. Use it in a `with` block: at the end all is written."""

    expands = True
    """Whether fan-outs are expanded in it, and not left ready for the engine's next turn to do that."""

    def __init__(self, tx: Transaction, kinds: Kinds) -> None:
        self.tx = tx
        self.kinds = kinds
        self.now: Instant = tx.now()
        self.now_ms = round(parse_instant(self.now).timestamp() * 1000)
        self.lives: dict[str, Live] = {}
        self.unsettled: list[Live] = []
        """Runs in which something moved that others hang on."""
        self.overdue: list[tuple[str, str]] = []
        """Steps that work, run and key, whose deadline has passed."""
        self.times_moved = False
        """Whether something that is due at a time came or went."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.save()
        else:
            for id_ in self.lives:
                _lives.pop(id_, None)

    def instant(self, ms: int) -> Instant:
        """Return the text of a moment."""
        return _instant(ms)

    # -- loading ------------------------------------------------------------------------------------------------------

    def load(self, id: str) -> Live:
        """Return a run as it stands. Raises `NotFound`."""
        live = self.lives.get(id)
        if live is None:
            live = self.lives[id] = self._load(id)
        return live

    def open(self, id: str, doing: str) -> Live:
        """Return a run that has not ended. Raises `Conflict`, saying what cannot be done, if it has."""
        live = self.load(id)
        if live.ended:
            raise Conflict(
                f"this run has {_ENDS[live.run.status]}, so it cannot be {doing}",
                hint="retry or rewind it: that makes a new run",
                data={"run": id, "status": live.run.status},
            )
        return live

    def _load(self, id: str) -> Live:
        kept = _lives.get(id)
        if kept is not None and not kept.dirty:
            row = self.tx.rows("SELECT rev FROM execution_runs WHERE id = :id", id=id)
            if row and row[0][0] == kept.run.rev:
                _lives.move_to_end(id)
                return kept
        run = self.tx.find(Run, id)
        if run is None:
            raise NotFound(f"no run with id {id!r}", field="/id", hint="look runs up with execution.runs.list")
        graph, parallel = graph_of(self.tx, run.definition)
        live = Live(run, graph, parallel)
        for step in self.tx.select(Step, "run = :run", order="position, id", run=id):
            live.add(step)
            live.stored[step.key] = step
        for wait in self.tx.select(Wait, "run = :run AND status = 'open'", run=id):
            live.waits[wait.key] = wait
        for attempt in self.tx.select(Attempt, "run = :run AND state IN ('intent', 'started')", run=id):
            live.running[attempt.key] = attempt
        live.todo.extend(key for key, step in live.steps.items() if step.status == "pending")
        live.todo.extend(key for key in live.items if live.steps[key].status == "running")
        _lives[id] = live
        if len(_lives) > _KEPT_RUNS:
            _lives.popitem(last=False)
        return live

    def take(self, live: Live) -> None:
        """Take in a run that is new."""
        live.dirty = True
        self.lives[live.run.id] = live
        _lives[live.run.id] = live

    # -- writing ------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what was moved."""
        for live in self.lives.values():
            if live.dirty:
                with blame(live.run.id):
                    for key in sorted(live.new_attempts):
                        live.running[key] = self.tx.insert(live.running[key])
                    live.new_attempts.clear()
                with blame(live.run.id, saving=True):
                    self._save(live)

    def _save(self, live: Live) -> None:
        for key in sorted(live.touched, key=lambda each: live.steps[each].position):
            self._save_step(live, key, live.touched[key])
        live.touched.clear()
        live.set_run(moves=live.run.moves + 1)
        stored = live.stored_run
        if stored is None:
            live.run = self.tx.insert(live.run)
        else:
            live.run = self.tx.update(stored, **{name: getattr(live.run, name) for name in sorted(live.run_touched)})
        live.run_touched.clear()
        live.stored_run = live.run
        live.dirty = False
        if live.ended:  # nothing moves it any more, and its outputs may be large
            _lives.pop(live.run.id, None)

    def _save_step(self, live: Live, key: str, names: set[str]) -> None:
        step, stored = live.steps[key], live.stored.get(key)
        if stored is None:
            step = self.tx.insert(step)
        else:
            # In one order, or each order would be a statement of its own, to be compiled anew.
            step = self.tx.update(stored, **{name: getattr(step, name) for name in sorted(names)})
        live.steps[key] = live.stored[key] = step

    def say(self, event: Event) -> None:
        """Say an event."""
        self.tx.emit(event)

    def revisit(self, live: Live, *keys: str) -> None:
        """Have a run settled, and some of its steps looked at."""
        live.todo.extend(keys)
        if live not in self.unsettled:
            self.unsettled.append(live)

    # -- the end of a step --------------------------------------------------------------------------------------------

    def end(self, live: Live, key: str, status: str, *, error: StepFault | None = None, **changes: Any) -> None:
        """Bring a step to its end, give back what it holds, and have looked at what follows."""
        step = live.steps[key]
        if step.status in ENDED_STEP:
            raise AssertionError(f"step {step.id} is {step.status} and cannot become {status}")
        self.close_wait(live, key)
        self.free(live, key)
        live.ends += 1
        live.unended -= 1
        live.set(key, status=status, error=error, finished_at=self.now, ended=live.ends, **changes)
        self.say(StepFinished(step=step.id, run=step.run, key=key, status=status))
        if step.role == "item" and step.parent is not None:
            live.left[step.parent] -= 1
            live.good[step.parent] += status in GOOD_STEP
            self.revisit(live, step.parent)
        elif step.role == "compensation":
            live.undone += 1
            self.revisit(live, *live.undoing[live.undone : live.undone + 1])
        else:
            self.revisit(live, *live.graph.followers[key])

    def close_wait(self, live: Live, key: str, **changes: Any) -> Wait | None:
        """Close what a step waits for, and return it."""
        wait = live.waits.pop(key, None)
        if wait is None:
            return None
        live.dirty = self.times_moved = True
        return self.tx.update(wait, status="closed", **changes)

    def free(self, live: Live, key: str) -> None:
        """Give back the resources that a step holds, or that it could have taken and did not.

        Each goes to the step that has waited longest for it. One that was let go to take a resource and then does not
        (it is left out, held, or waits for another one) must pass it on, or those behind it wait for ever.
        """
        for name in live.spec(key).resources:
            self._free(live, key, name)

    def _free(self, live: Live, key: str, name: str) -> None:
        lock = self.tx.find(Lock, f"{live.run.workspace_id}/{name}")
        if lock is not None:
            if (lock.run, lock.key) != (live.run.id, key):
                return
            self.tx.delete(lock)
        # without the + SQLite would look among all that ever waited for a resource, and not among those that do
        where = "status = 'open' AND +kind = 'lock' AND name = :name AND workspace_id = :workspace"
        where += f" AND run NOT IN {ASIDE}"  # nothing moves those, so those behind them would wait for ever
        for wait in self.tx.select(Wait, where, order="id", limit=1, name=name, workspace=live.run.workspace_id):
            other = self.load(wait.run)
            self.close_wait(other, wait.key)
            other.set(wait.key, status="pending", reason=None)
            self.revisit(other, wait.key)


def drop(run: str) -> None:
    """Keep a run in memory no longer: its row is about to be written by other ways."""
    _lives.pop(run, None)


def forget() -> None:
    """Keep no run in memory: for who changed the database by other ways, or wants to measure without."""
    _lives.clear()
    _graphs.clear()


_ENDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled", "timed_out": "timed out"}


def graph_of(tx: Any, definition: str) -> tuple[Graph, int]:
    """Return the graph of a stored definition, and how many of its steps run at once.

    Raises `Conflict` if it is not kept any more.
    """
    found = _graphs.get(definition)
    if found is None:
        kept = tx.find(Definition, definition)
        if kept is None:
            raise Conflict(
                "the steps that this run is held to are gone",
                hint="start a new run from what they were made from",
                data={"definition": definition},
            )
        found = _graphs[definition] = Graph(kept.body.steps), kept.body.parallel
        if len(_graphs) > _KEPT_GRAPHS:
            _graphs.popitem(last=False)
    _graphs.move_to_end(definition)
    return found


def _instant(ms: int) -> str:
    return format_instant(datetime.fromtimestamp(ms / 1000, UTC))
