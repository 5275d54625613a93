"""Fan-outs: one step that becomes many, and many ends that become one."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import msgspec

from coder_plugins.execution.artifacts.adapters import put
from coder_plugins.execution.definitions.records import EXPANDED_LIMIT, RUN_LIMIT, StepSpec
from coder_plugins.execution.records import GOOD_STEP, INLINE_LIMIT, LARGE
from coder_plugins.execution.rules.expansion import Item, of_list, of_matrix
from coder_plugins.execution.rules.references import ReferenceFault, resolve
from coder_plugins.execution.runs.records import Artifact, StepFault

from .live import Live, Moves
from .making import item_step, scope_of

_SHOWN = 20
_NOT_ASKED_FOR = "only others were asked for"


def expand(moves: Moves, live: Live, key: str) -> None:
    """Make the steps of a fan-out, and have the first of them looked at. It fails if it cannot be one."""
    spec, step = live.graph.specs[key], live.steps[key]
    try:
        items = _items(live, spec)
    except ReferenceFault as error:
        moves.end(live, key, "failed", error=StepFault(word="reference", message=str(error)))
        return
    if len(items) > EXPANDED_LIMIT:
        message = f"it would become {len(items)} steps, and {EXPANDED_LIMIT} is the most"
        moves.end(live, key, "failed", error=StepFault(word="too_large", message=message))
        return
    if len(live.steps) + len(items) > RUN_LIMIT:
        message = f"it would become {len(items)} steps; the run has {len(live.steps)} already, and {RUN_LIMIT} at most"
        moves.end(live, key, "failed", error=StepFault(word="too_large", message=message))
        return
    live.set(key, status="running", started_at=moves.now)
    base = len(live.steps) + 1
    for index, item in enumerate(items):
        live.create(item_step(step, item.key, item.value, base + index))
    keys = [item.key for item in items]
    live.items.setdefault(key, [])
    if live.run.only and not set(live.run.only) & {key}:
        for each in [each for each in keys if each not in live.run.only]:
            moves.end(live, each, "skipped", reason=_NOT_ASKED_FOR)
        keys = [each for each in keys if each in live.run.only]
    moves.revisit(live, key, *keys)


def hold_back(live: Live, key: str) -> bool:
    """Hold a step of a fan-out back while as many others run as may; tell whether it is."""
    step = live.steps[key]
    if step.role != "item" or step.parent is None:
        return False
    at_once = live.graph.specs[step.parent].max_parallel
    if at_once is None or live.begun[step.parent] < at_once:
        return False
    live.held.setdefault(step.parent, deque()).append(key)
    return True


def _items(live: Live, spec: StepSpec) -> list[Item]:
    if spec.matrix is not None:
        return of_matrix(spec.key, spec.matrix)
    found: Any = resolve(spec.foreach, scope_of(live, spec.key))
    word = type(found).__name__
    if word != "list":
        raise ReferenceFault(f"foreach of {spec.key} must be a list, and is {word}")
    return of_list(spec.key, found)


def join(moves: Moves, live: Live, key: str) -> None:
    """Go on with a fan-out of which a step has ended: begin those that were held back, or end it."""
    spec, left, good = live.graph.specs[key], live.left[key], live.good[key]
    held = live.held.get(key)
    if held:
        free = (spec.max_parallel or 1) - live.begun[key]
        moves.revisit(live, *(held.popleft() for _ in range(min(len(held), max(0, free)))))
    least = math.inf if spec.fan_in == "all" else 1 if spec.fan_in == "any" else spec.fan_in
    if left and good < least:
        return  # once for each step of the fan-out: nothing here may look at all of them
    keys = live.items.get(key, [])
    wanted = [each for each in keys if live.steps[each].reason != _NOT_ASKED_FOR]
    needed = len(wanted) if spec.fan_in == "all" else least
    if left:
        _leave_out(moves, live, key)
        left = live.left[key]
    if left:
        return
    outputs = [live.steps[each].output for each in wanted]
    whole = _kept(moves, live, key, outputs)
    if good >= needed:
        moves.end(live, key, "succeeded", **whole)
        return
    failed = [each for each in wanted if live.steps[each].status not in GOOD_STEP]
    message = f"{good} of {len(wanted)} succeeded, and {needed} had to: {', '.join(failed[:_SHOWN])}"
    cancelled = bool(failed) and all(live.steps[each].status == "cancelled" for each in failed)
    moves.end(
        live,
        key,
        "cancelled" if cancelled else "failed",
        **whole,
        error=StepFault(word="fan_in", message=message, data={"failed": failed[:_SHOWN]}),
    )


def _kept(moves: Moves, live: Live, key: str, outputs: list[Any]) -> dict[str, Any]:
    """Return the output of a fan-out as fields of its step; one that is too large for them is kept as an artifact."""
    encoded = msgspec.json.encode(outputs)
    if len(encoded) <= INLINE_LIMIT:
        return {"output": outputs}
    step, sha256 = live.steps[key], put(moves.tx.folder, encoded)
    moves.tx.insert(Artifact(
        run=step.run, workspace_id=step.workspace_id, key=key, n=0, name=LARGE, sha256=sha256, bytes=len(encoded),
        media_type="application/json",
    ))  # fmt: skip
    return {"output": None, "artifact": sha256}


def _leave_out(moves: Moves, live: Live, key: str) -> None:
    """Leave out the steps that do nothing now: enough succeeded. Those that run, or wait, come to their ends."""
    live.held.pop(key, None)
    for each in live.items[key]:
        waits = live.waits.get(each)
        idle = live.steps[each].status in {"pending", "ready"} and each not in live.running
        if idle or (waits is not None and waits.kind in {"lock", "retry"}):
            moves.end(live, each, "skipped", reason="enough others succeeded")
