"""The pace of the last weeks, read from when tasks were done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from coder_local.api import Snapshot
from coder_plugins.planning.rules import forecast
from coder_plugins.planning.rules.errors import ThinData


class Quantiles(NamedTuple):
    """Weeks until a project is done with 50 and 85 % confidence, or why that cannot be told."""

    remaining: int
    p50: int | None
    p85: int | None
    why_none: str | None


def throughput(read: Snapshot, project: str | None, tags: Sequence[str], today: date) -> list[int]:
    """Return the tasks done in each of the last 12 weeks, oldest first; a week is 7 days, the last one ends today.

    The weeks begin with the one in which the first task was done: before that there was no pace.
    """
    begin = today - timedelta(days=7 * forecast.LAST_WEEKS - 1)
    rows = read.rows(
        "SELECT max(substr(completed_at, 1, 10), :begin), count(*), min(completed_at) < :begin FROM planning_tasks task"
        " WHERE status = 'done' AND deleted_at IS NULL AND workspace_id = :workspace"
        " AND substr(completed_at, 1, 10) <= :today AND (:project IS NULL OR project = :project)"
        " AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted"
        "   WHERE wanted.value NOT IN (SELECT value FROM json_each(task.tags)))"
        " GROUP BY 1, completed_at < :begin",
        begin=begin.isoformat(),
        today=today.isoformat(),
        workspace=read.workspace,
        project=project,
        tags=list(tags),
    )
    weeks = [0] * forecast.LAST_WEEKS
    first = 0
    for day, count, earlier in rows:
        if earlier:
            first = forecast.LAST_WEEKS
            continue
        ago = (today - date.fromisoformat(day)).days // 7
        weeks[-1 - ago] += count
        first = max(first, ago + 1)
    return weeks[forecast.LAST_WEEKS - first :]


def remaining(read: Snapshot, project: str | None, tags: Sequence[str]) -> int:
    """Return how many open tasks there are."""
    rows = read.rows(
        "SELECT count(*) FROM planning_tasks task"
        " WHERE status IN ('backlog', 'todo', 'doing', 'review') AND deleted_at IS NULL AND workspace_id = :workspace"
        " AND (:project IS NULL OR project = :project)"
        " AND NOT EXISTS (SELECT 1 FROM json_each(:tags) wanted"
        "   WHERE wanted.value NOT IN (SELECT value FROM json_each(task.tags)))",
        workspace=read.workspace,
        project=project,
        tags=list(tags),
    )
    return int(rows[0][0])


def quantiles(read: Snapshot, project: str, today: date) -> Quantiles:
    """Return when a project will be done at its own pace."""
    rest = remaining(read, project, ())
    try:
        found = forecast.forecast(throughput(read, project, (), today), rest)
    except ThinData as error:
        return Quantiles(rest, None, None, str(error))
    return Quantiles(rest, found.p50, found.p85, None)
