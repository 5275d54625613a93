"""What may be asked of the exchange with other tools: import, and export as text or into a file."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Annotated, cast

import msgspec
from msgspec import Meta, Struct

from coder_local.api import Context, FilePath, Invalid, Safety, TooLarge
from coder_plugins.planning.formats import FORMATS, ForeignTask, sniff
from coder_plugins.planning.records import Reference, domain

from .arrival.operations import refuse_records
from .departure import operations as departure
from .records import (
    MOST_BYTES,
    MOST_TASKS,
    Exported,
    ExportedFile,
    FormatName,
    ImportReport,
    SkippedRecord,
)

__all__ = ["departure", "export_file", "import_"]

Text = Annotated[str, Meta(max_length=MOST_BYTES)]


class _Read(Struct):
    """A text, parsed: its records, what could not be read, and what was read but cannot be a task."""

    format: FormatName
    tasks: list[ForeignTask]
    unread: list[SkippedRecord]
    unfit: list[SkippedRecord]


@domain.action("planning.import", safety=Safety.WRITE)
async def import_(
    ctx: Context,
    *,
    format: FormatName | None = None,
    path: FilePath | None = None,
    text: Text | None = None,
    project: Reference | None = None,
    dry_run: bool = False,
    skip_faults: bool = False,
) -> ImportReport:
    """Bring in the tasks of another tool from a file or a text; run again, it updates instead of doubling.

    Formats: beads JSONL, Taskwarrior JSON, GitHub issues JSON (of the REST interface or `gh issue list --json`),
    iCalendar VTODO, Markdown checklists. Without `format` it is told from the text. All tasks go to one project:
    `project` (id or key), or else one named after what the records or the file are called, made when it is not there.
    Milestones and projects inside the file are kept and written back, not turned into projects here.

    It is one change: all or nothing, and one undo takes it back. A record with a fault stops it and every fault is
    named with its line, unless `skip_faults` leaves such records out. `dry_run` only says what would be done.

    On a later import of the same records, fields that changed in the file are taken over, and fields that did not are
    left as they are here. Links the file no longer states go, if an import had made them. Tasks that are gone from the
    file stay; a task that was deleted here comes back as a new one, one that was merged into another does not.
    """
    if (path is None) == (text is None):
        message = "give either path or text, not both" if path else "there is nothing to import: give path or text"
        raise Invalid(message, field="/text" if path else "/path", hint="path names a file, text is what one holds")
    from . import adapters  # noqa: PLC0415 - see `_parse`
    from .rules import mapping  # noqa: PLC0415

    ctx.progress(0, 3, "reading")
    if path is not None:
        text = await asyncio.to_thread(adapters.read_text, path, MOST_BYTES)
    ctx.progress(1, 3, "parsing")
    found = await asyncio.to_thread(_parse, text or "", format, path, mapping.today(ctx.now()))
    if not skip_faults:
        refuse_records([*found.unread, *found.unfit], "/text" if path is None else "/path")
    ctx.progress(2, 3, f"{'comparing' if dry_run else 'writing'} {len(found.tasks)} records")
    answer = await ctx.call(
        "planning.import_records",
        format=found.format,
        tasks=found.tasks,
        project=project,
        file=path,
        dry_run=dry_run,
        skip_faults=skip_faults,
    )
    ctx.progress(3, 3, "done")
    report = msgspec.convert(answer, ImportReport)
    return msgspec.structs.replace(report, skipped=found.unread + report.skipped)


@domain.action("planning.export_file", safety=Safety.DESTRUCTIVE)
async def export_file(
    ctx: Context,
    *,
    format: FormatName,
    path: FilePath,
    project: Reference | None = None,
    overwrite: bool = False,
) -> ExportedFile:
    """Write what `planning.export` answers into a file, whole or not at all.

    A file that is there already is replaced only with `overwrite`.
    """
    from . import adapters  # noqa: PLC0415 - see `_parse`

    found = msgspec.convert(await ctx.call("planning.export", format=format, project=project), Exported)
    size = await asyncio.to_thread(adapters.write_text, path, found.text, overwrite=overwrite)
    return ExportedFile(format=format, path=path, count=found.count, bytes=size)


def _parse(text: str, format: FormatName | None, path: str | None, day: date) -> _Read:
    """Return the records of a text, in the format that is given or told from it. Raises what refuses all of it."""
    # What reads and writes is a fifth of planning's import, and most starts bring in nothing.
    from . import adapters  # noqa: PLC0415
    from .rules import mapping  # noqa: PLC0415

    name = format or cast("FormatName | None", sniff(text, path or ""))
    if name is None:
        raise Invalid(
            "the text does not tell which format it is in", field="/format", hint="give one of " + ", ".join(FORMATS)
        )
    parsed = FORMATS[name].parse(text, source=adapters.label_of(path) if path else "")
    if len(parsed.tasks) > MOST_TASKS:
        raise TooLarge(
            f"there are {len(parsed.tasks)} records, an import takes {MOST_TASKS}",
            field="/text" if path is None else "/path",
            hint="divide them; each part can be imported",
            data={"limit": MOST_TASKS},
        )
    unread = [
        SkippedRecord(
            line=fault.line,
            id="",
            message=f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message,
            hint=fault.hint,
        )
        for fault in parsed.faults
    ]
    unfit = [
        SkippedRecord(line=0, id=task.id, message=message, hint=hint)
        for task in parsed.tasks
        for message, hint in mapping.taken(task, today=day).faults
    ]
    return _Read(name, parsed.tasks, unread, unfit)
