"""Pages of the steps of a run, in order: no longer than asked for, and no larger than an answer should be."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from coder_local.api import Invalid, Snapshot

from .records import Attempt, Step
from .rules import StepView

PAGE = 200
PAGE_BYTES = 1024 * 1024
"""Bytes of output and input after which a page ends."""

Limit = Annotated[int, Meta(ge=1, le=500, description="Steps on the page; it ends earlier after 1 MiB of outputs.")]
Cursor = Annotated[str, Meta(max_length=400, description="`next_cursor` of the page before.")]


class StepPage(NamedTuple):
    """Some steps of a run."""

    steps: list[Step]
    next_cursor: str | None


def steps_of(
    read: Snapshot, run: str, cursor: str | None, limit: int, *, key: str | None = None, record: bool = False
) -> StepPage:
    """Return a page of the steps of a run, or of one of them; with `record` their attempts are measured as well.

    Raises `Invalid` for what is no cursor.
    """
    position, after = _parse(cursor)  # ids of one run are in the order of its keys
    found = read.rows(
        "SELECT its.id, its.position, coalesce(length(its.output), 0) + (CASE WHEN :record THEN"
        "  (SELECT coalesce(sum(length(input) + coalesce(length(output), 0)), 0) FROM execution_attempts"
        "   WHERE id >= its.id || '/' AND id < its.id || '0') ELSE 0 END)"
        " FROM (SELECT id FROM execution_steps WHERE run = :run AND (:key IS NULL OR key = :key)"
        "  AND (position, id) > (:position, :after) AND deleted_at IS NULL ORDER BY position, id LIMIT :limit) AS page"
        " JOIN execution_steps AS its ON its.id = page.id ORDER BY its.position, its.id",
        run=run,
        key=key,
        position=position,
        after=f"{run}/{after}",
        limit=limit + 1,
        record=record,
    )
    ids: list[str] = []
    size = 0
    for id_, _, length in found[:limit]:
        size += length
        if ids and size > PAGE_BYTES:
            break
        ids.append(id_)
    steps = read.select(Step, "id IN (SELECT value FROM json_each(:ids))", order="position, id", ids=ids)
    more = len(found) > len(ids)
    return StepPage(steps, f"{steps[-1].position}/{steps[-1].key}" if more else None)


def recorded(read: Snapshot, run: str, steps: list[Step]) -> list[StepView]:
    """Return some steps of a run with their attempts, in order; the one that was done has the output of its step."""
    found = {step.key: StepView(step=step, attempts=[]) for step in steps}
    where = "run = :run AND key IN (SELECT value FROM json_each(:keys))"
    for attempt in read.select(Attempt, where, order="n", run=run, keys=list(found)):
        view = found[attempt.key]
        done = attempt.state == "done"
        view.attempts.append(msgspec.structs.replace(attempt, output=view.step.output) if done else attempt)
    return list(found.values())


def _parse(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return -1, ""
    position, _, key = cursor.partition("/")
    if not (position.isascii() and position.isdigit() and len(position) < 10 and key):
        raise Invalid("this is no cursor of these steps", field="/cursor", hint="give next_cursor of the page before")
    return int(position), key
