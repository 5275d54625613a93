"""What may be asked of steps before they run: whether they can, how long they may take, which kinds there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from coder_local.api import FilePath, Snapshot
from coder_plugins.execution.records import domain
from coder_plugins.execution.rules import graph

from .records import PARALLEL, Checked, Estimate, Inputs, KindInfo, KindList, Parallel, StepEstimate, Steps, StepSpec
from .rules import check as check_steps
from .rules import kinds_of, unfold

_SAMPLES = 200


@domain.query("execution.check")
def check(
    read: Snapshot,
    *,
    steps: Steps,
    inputs: Inputs | None = None,
    folder: FilePath | None = None,
    parallel: Parallel = PARALLEL,
) -> Checked:
    """Tell whether some steps can run, with all that is wrong or doubtful, before anything runs."""
    where = None if folder is None else Path(folder).expanduser()
    return check_steps(read, steps, inputs or {}, folder=where, parallel=parallel)


@domain.query("execution.estimate")
def estimate(read: Snapshot, *, steps: Steps, inputs: Inputs | None = None) -> Estimate:
    """Tell how long a run may take: the median and the 90 % mark of what equal steps took before."""
    specs = unfold(steps)
    hashes = graph.Graph(specs).hashes(inputs or {})
    found = [_step_estimate(read, step, hashes[step.key]) for step in specs]
    by_key = {each.key: each for each in found}
    return Estimate(
        steps=found,
        median_ms=_longest_way(specs, {key: each.median_ms for key, each in by_key.items()}),
        p90_ms=_longest_way(specs, {key: each.p90_ms for key, each in by_key.items()}),
        unknown=[each.key for each in found if not each.runs],
    )


def _step_estimate(read: Snapshot, step: StepSpec, hash_: str) -> StepEstimate:
    rows = read.rows(
        "SELECT active_ms FROM execution_steps WHERE hash = :hash AND status = 'succeeded'"
        " AND workspace_id = :workspace AND deleted_at IS NULL ORDER BY id DESC LIMIT :limit",
        hash=hash_,
        workspace=read.workspace,
        limit=_SAMPLES,
    )
    taken = sorted(row[0] for row in rows)
    if not taken:
        return StepEstimate(key=step.key, runs=0, median_ms=None, p90_ms=None)
    if len(taken) == 1:
        return StepEstimate(key=step.key, runs=1, median_ms=taken[0], p90_ms=taken[0])
    from statistics import quantiles  # noqa: PLC0415 - 3 ms, and only an estimate needs it

    tenths = quantiles(taken, n=10, method="inclusive")
    return StepEstimate(key=step.key, runs=len(taken), median_ms=round(tenths[4]), p90_ms=round(tenths[8]))


def _longest_way(steps: list[StepSpec], taken: dict[str, int | None]) -> int | None:
    """Return the length of the longest way through the steps; None if one of them is not known."""
    ends: dict[str, int] = {}
    needs = {step.key: step.needs for step in steps}
    for key in graph.order(steps):
        own = taken[key]
        if own is None:
            return None
        ends[key] = own + max((ends[need] for need in needs[key]), default=0)
    return max(ends.values(), default=0)


@domain.query("execution.kinds")
def kinds(read: Snapshot) -> KindList:
    """List the kinds of steps that can be run here, with the schema of what each takes."""
    found = kinds_of(read)
    return KindList(items=[_info(name, found[name]) for name in sorted(found)])


def _info(name: str, kind: Any) -> KindInfo:
    summary = (type(kind).__doc__ or "").strip().split("\n\n")[0]
    return KindInfo(name=name, summary=" ".join(summary.split()), input=msgspec.json.schema(kind.input))
