"""Making a run from one before it: again from where it failed, from the start, or from any step."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from coder_local.api import Conflict, Id, Invalid, NotFound, Refused, Safety, Transaction
from coder_plugins.execution.definitions.records import Body, Definition, Inputs, Steps
from coder_plugins.execution.definitions.rules import unfold
from coder_plugins.execution.machine.making import NewRun, above, make
from coder_plugins.execution.records import Key, domain
from coder_plugins.execution.rules.graph import Graph
from coder_plugins.execution.runs.records import Run
from coder_plugins.execution.runs.rules import MOVES, Forked, Moving, agreed, checked_steps


@domain.command("execution.runs.retry", emits=MOVES, safety=Safety.DESTRUCTIVE)
def retry(
    tx: Transaction,
    *,
    id: Id,
    source: Literal["failed", "start"] | Key = "failed",
    definition: Literal["same", "latest"] = "same",
    steps: Steps | None = None,
    inputs: Inputs | None = None,
    external: bool = False,
) -> Forked:
    """Make a new run from one that has ended, and take over the results that still stand.

    `source` is where it begins anew: `failed` (all that did not succeed), `start` (everything), or a step with all that
    hangs on it. With `definition` latest it runs `steps`, the corrected ones, or those of the newest run of the same
    source; a result stands if its step, and all that it needs, is the same. A run that had a `deadline` is given as
    long again, from now. `external` is as in `execution.start`.
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
    return _fork(tx, old, body, "retry", redo, old.inputs if inputs is None else inputs, external=external)


@domain.command("execution.runs.rewind", emits=MOVES, safety=Safety.DESTRUCTIVE)
def rewind(
    tx: Transaction,
    *,
    id: Id,
    step: Key,
    inputs: Inputs | None = None,
    change: dict[str, Any] | None = None,
    external: bool = False,
) -> Forked:
    """Make a new run that shares what was finished before a step, and goes on from there; the old run is untouched.

    `change` replaces values in the `input` of that step. A run that had a `deadline` is given as long again, from now.
    `external` is as in `execution.start`.
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
    return _fork(tx, old, body, "rewind", sorted(graph.after(step)), old.inputs if inputs is None else inputs,
                 external=external)  # fmt: skip


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
    tx: Transaction,
    old: Run,
    body: Body,
    how: Literal["retry", "rewind"],
    redo: list[str],
    inputs: Inputs,
    *,
    external: bool,
) -> Forked:
    checked = checked_steps(tx, body.steps, inputs, old.folder, body.parallel)
    rights = agreed(tx.rights(), checked, external=external or old.mode == "dry")
    with Moving(tx) as moves:
        moves.expands = True  # the answer names what is reused
        parent, parent_step = above(moves)
        live = make(
            moves,
            NewRun(
                body=body, name=old.name, rights=rights, kind=old.kind,
                source_ref=old.source_ref, mode=old.mode, inputs=inputs, folder=old.folder, priority=old.priority,
                concurrency_key=old.concurrency_key, only=old.only, forked_from=old.id, fork=how, redo=redo,
                deadline=old.deadline, parent=parent, parent_step=parent_step,
            ),
        )  # fmt: skip
    return Forked(run=live.run, reused=[step.key for step in live.with_status("reused")])
