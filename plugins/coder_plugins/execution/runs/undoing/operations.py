"""What may be undone of a run after it: a file that a step wrote, put back as it was before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from coder_local.api import Conflict, Context, Id, Invalid, Refused, Safety, Snapshot, StepError, Value
from coder_plugins.execution.artifacts.adapters import get
from coder_plugins.execution.records import StepKey, domain
from coder_plugins.execution.runs.records import Attempt
from coder_plugins.execution.runs.rules import find_run, find_step


class EditUndone(Value):
    """A file that is as it was before a step."""

    path: str
    """Below the folder of the run."""
    before: str
    """Hash of what it holds now; `absent` if it is not there, for it was not before the step."""
    after: str
    """Hash of what the step had left."""
    changed: bool
    """False if it was as before already."""


class _Edit(NamedTuple):
    root: Path
    path: str
    attempt: Attempt


@domain.action("execution.runs.undo_edit", safety=Safety.DESTRUCTIVE)
async def undo_edit(ctx: Context, *, id: Id, step: StepKey) -> EditUndone:
    """Put back what a file held before a step of kind `file_edit`, unless somebody has changed it since.

    One that was not there before is deleted. Raises `Conflict`, which names both hashes, for a file that is not as the
    step left it, and `NotFound` if what it held before is not kept any more.
    """
    edit = await ctx.read(_edit, id, step)
    return await asyncio.to_thread(_put_back, ctx.folder, edit)


def _edit(read: Snapshot, id: str, step: str) -> _Edit:
    """Return the last edit that a step made. Raises `Invalid` and `Conflict` if there is none."""
    run, found = find_run(read, id), find_step(read, id, step)
    if found.kind != "file_edit" or run.folder is None:
        raise Invalid(
            f"{step} is a step of kind {found.kind}",
            field="/step",
            hint="name one of kind file_edit, which writes a file",
        )
    where = "run = :run AND key = :key AND state = 'done'"
    made = read.select(Attempt, where, order="n DESC", limit=1, run=id, key=step)
    if not made:
        raise Conflict(
            f"{step} is {found.status}: it wrote nothing that could be put back",
            field="/step",
            hint="undo it in the run that wrote it" if found.reused_from else "see execution.runs.record",
            data={"status": found.status, "reused_from": found.reused_from},
        )
    return _Edit(Path(run.folder), str(made[0].input["path"]), made[0])


def _put_back(folder: Path, edit: _Edit) -> EditUndone:
    from coder_plugins.execution.kinds.fileedit import ABSENT, hash_of, read, replace  # noqa: PLC0415 - 10 ms
    from coder_plugins.execution.kinds.folders import inside  # noqa: PLC0415 - comes with it

    facts = edit.attempt.facts
    before, after = str(facts["before"]), str(facts["after"])
    try:
        path = inside(edit.root, edit.path)
        if str(path) != facts["path"]:
            raise StepError(f"{edit.path} leads to another file than when it was written: {path}")
        now = hash_of(read(path))
    except StepError as error:
        raise Refused(
            error.message, field="/step", hint="look at what stands at that path now", data={"rule": "path"}
        ) from None
    if now not in {before, after}:
        raise Conflict(
            f"{edit.path} was changed since: it has the hash {now}, and the step left {after}",
            field="/step",
            hint="what it held before the step is its artifact `before`: merge it by hand",
            data={"expected": after, "found": now, "before": before},
        )
    if now != before:
        content = None if before == ABSENT else get(folder, str(facts["before_content"]), 0, -1)
        replace(path, content, facts.get("mode"))
    return EditUndone(path=edit.path, before=before, after=after, changed=now != before)
