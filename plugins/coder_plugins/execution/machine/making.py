"""Making a run: its whole graph is on disk before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import msgspec

from coder_local.api import Conflict, Instant, Rights, parse_duration, parse_instant
from coder_plugins.execution.definitions.records import DEPTH_LIMIT, Body, Definition
from coder_plugins.execution.records import ExecutionSettings
from coder_plugins.execution.rules.graph import Graph
from coder_plugins.execution.rules.hashing import content_hash
from coder_plugins.execution.runs.records import Run, RunForked, RunQueued, Step

from .live import Live, Moves

HOUR_MS = 3_600_000
_above: ContextVar[tuple[str, str] | None] = ContextVar("execution_above", default=None)
"""The step whose operation runs now: a run that it starts stands below that step's run."""


class under:  # noqa: N801 - it stands where a function would, and a generator takes three times as long
    """Have the runs that are made meanwhile stand below a run, for one that starts itself must come to an end."""

    __slots__ = ("_key", "_run", "_token")

    def __init__(self, run: str, key: str) -> None:
        self._run = run
        self._key = key

    def __enter__(self) -> None:
        self._token = _above.set((self._run, self._key))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _above.reset(self._token)


def above(moves: Moves) -> tuple[Run | None, str | None]:
    """Return the run and the step that a new run stands below, if an operation of a step makes it."""
    found = _above.get()
    return (None, None) if found is None else (moves.tx.get(Run, found[0]), found[1])


class NewRun(msgspec.Struct, kw_only=True):
    """What a run is made of."""

    body: Body
    name: str
    rights: Rights
    kind: Any = "other"
    source_ref: str | None = None
    mode: Any = "live"
    inputs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    folder: str | None = None
    priority: int = 0
    concurrency_key: str | None = None
    only: list[str] = msgspec.field(default_factory=list[str])
    deadline: str | None = None
    parent: Run | None = None
    parent_step: str | None = None
    forked_from: str | None = None
    fork: Any = None
    redo: list[str] = msgspec.field(default_factory=list[str])
    id: str = ""


def make(moves: Moves, new: NewRun) -> Live:
    """Write a run and its steps, all pending, and return it; `settling.settle` begins it.

    Raises `Conflict` if it stands too deep below other runs, or if they began too many within an hour.
    """
    depth = 0 if new.parent is None else new.parent.depth + 1
    if new.parent is not None:
        _refuse_endless(moves, new.parent, depth)
    graph = Graph(new.body.steps)
    hashes = graph.hashes(new.inputs)  # of what is no graph: nothing must be written then
    run = moves.tx.insert(
        Run(
            id=new.id,
            workspace_id=new.rights.workspace,
            name=new.name,
            kind=new.kind,
            source_ref=new.source_ref,
            definition=keep(moves, new.body),
            mode=new.mode,
            inputs=new.inputs,
            folder=new.folder,
            rights=new.rights,
            priority=new.priority,
            concurrency_key=new.concurrency_key,
            only=new.only,
            deadline=new.deadline,
            deadline_at=_deadline_at(moves, new.deadline),
            parent_run=None if new.parent is None else new.parent.id,
            parent_step=new.parent_step,
            depth=depth,
            forked_from=new.forked_from,
            fork=new.fork,
            redo=new.redo,
        )
    )
    live = Live(run, graph, new.body.parallel)
    if new.mode == "dry":  # what would have been is no result for a run that does it
        hashes = {key: content_hash([hash_, "dry"]) for key, hash_ in hashes.items()}
    for key in live.graph.specs:
        live.create(_step(moves, live, key, hashes[key]))
    moves.take(live)
    moves.revisit(live, *live.steps)
    moves.say(RunQueued(run=run.id))
    if new.forked_from is not None:
        moves.say(RunForked(run=run.id, forked_from=new.forked_from))
    return live


def _step(moves: Moves, live: Live, key: str, hash_: str) -> Step:
    run, spec = live.run, live.graph.specs[key]
    fans_out = spec.foreach is not None or spec.matrix is not None
    return Step(
        id=f"{run.id}/{key}",
        workspace_id=run.workspace_id,
        run=run.id,
        key=key,
        position=live.graph.positions[key],
        role="fan_out" if fans_out else "step",
        kind=spec.kind,
        revision=revision_of(moves, spec.kind),
        process=is_process(moves, spec.kind),
        priority=run.priority,
        hash=hash_,
    )


def _deadline_at(moves: Moves, deadline: str | None) -> Instant | None:
    if deadline is None:
        return None
    return moves.instant(moves.now_ms + round(parse_duration(deadline).total_seconds() * 1000))


def is_process(moves: Moves, kind: str) -> bool:
    """Tell whether a kind takes the place of a process; of one that is not there, no."""
    found = moves.kinds.get(kind)
    return found is not None and found.process


def revision_of(moves: Moves, kind: str) -> int:
    """Return the revision of a kind; of one that is not there, the first."""
    found = moves.kinds.get(kind)
    return 1 if found is None else found.revision


def keep(moves: Moves, body: Body) -> str:
    """Keep a definition, unless it is there, and return its hash."""
    hash_ = content_hash(body)
    if moves.tx.find(Definition, hash_) is None:
        moves.tx.insert(Definition(id=hash_, body=body))
    return hash_


def item_step(parent: Step, key: str, item: Any, position: int) -> Step:
    """Return one step of a fan-out."""
    return Step(
        id=f"{parent.run}/{key}",
        workspace_id=parent.workspace_id,
        run=parent.run,
        key=key,
        position=position,
        parent=parent.key,
        role="item",
        kind=parent.kind,
        revision=parent.revision,
        process=parent.process,
        priority=parent.priority,
        item=item,
        hash=content_hash([parent.hash, item]),
    )


def scope_of(live: Live, key: str) -> Mapping[str, Any]:
    """Return what the references of a step may name."""
    step, run = live.steps[key], live.run
    scope: dict[str, Any] = {
        "inputs": run.inputs,
        "run": {"id": run.id, "name": run.name, "folder": run.folder},
        "steps": _Steps(live),
    }
    if step.role == "compensation" and step.parent is not None:
        step = live.steps[step.parent]
        scope["output"] = step.output
    if step.role == "item":
        item: Any = step.item
        scope["item"] = item
        scope["matrix"] = item if isinstance(item, dict) else {}
    return scope


class _Steps(Mapping[str, Any]):
    """The steps that have ended, by key, made into plain values when one is named."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __getitem__(self, key: str) -> Any:
        step = self._live.steps[key]
        if step.ended is None:
            raise KeyError(key)
        # an output that is an artifact is not there: to take nothing for it would be another result
        output = {"output": step.output} if step.artifact is None else {"artifact": step.artifact}
        return {**output, "status": step.status, "error": msgspec.to_builtins(step.error)}

    def __iter__(self) -> Any:
        return (key for key, step in self._live.steps.items() if step.ended is not None)

    def __len__(self) -> int:
        return self._live.ends


def _refuse_endless(moves: Moves, parent: Run, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise Conflict(
            f"runs stand {DEPTH_LIMIT} deep above this one: it seems to start itself for ever",
            hint="look at what starts what; a run may stand below 16 others at most",
            data={"limit": DEPTH_LIMIT, "run": parent.id},
        )
    limit = moves.tx.settings(ExecutionSettings).runs_per_hour
    since = moves.instant(round(parse_instant(moves.now).timestamp() * 1000) - HOUR_MS)
    begun = moves.tx.rows(
        "SELECT count(*) FROM execution_runs WHERE parent_run IS NOT NULL AND created_at > :since"
        " AND workspace_id = :workspace",
        since=since,
        workspace=parent.workspace_id,
    )[0][0]
    if begun >= limit:
        raise Conflict(
            f"{limit} runs were started by other runs within an hour",
            hint="wait, or raise the setting execution.runs_per_hour",
            data={"limit": limit},
        )
