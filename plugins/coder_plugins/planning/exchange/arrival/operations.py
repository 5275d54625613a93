"""Bringing records of another tool into the database, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from coder_local.api import Fault, FilePath, Invalid, Transaction
from coder_plugins.planning.exchange.records import (
    MOST_TASKS,
    FormatName,
    ImportReport,
    SkippedRecord,
)
from coder_plugins.planning.formats import ForeignTask
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.times.records import TimeRecorded

_MOST_NAMED = 1_000
"""Faults that are named one by one; a file of another format would have one on each of its lines."""

Records = Annotated[list[ForeignTask], Meta(max_length=MOST_TASKS)]


@domain.command("planning.import_records", emits=TimeRecorded, deadline=120.0)
def import_records(
    tx: Transaction,
    *,
    format: FormatName,
    tasks: Records,
    project: Reference | None = None,
    file: FilePath | None = None,
    dry_run: bool = False,
    skip_faults: bool = False,
) -> ImportReport:
    """Bring in records of another tool that were read already, by the rules of `planning.import`.

    `file` is where they were read from; it names the project when none is given and the records name none.
    """
    from .records import Arrival  # noqa: PLC0415 - with what it needs a fifth of planning's import

    arrival = Arrival(tx, format=format, tasks=tasks, project=project, file=file)
    faults = arrival.faults()
    if faults and not skip_faults:
        refuse_records(faults, "/tasks")
    arrival.skip(faults)
    arrival.prepare()
    report = arrival.report(dry_run=dry_run)
    if not dry_run:
        arrival.write()
    return report


def refuse_records(found: Sequence[SkippedRecord], field: str) -> None:
    """Raise `Invalid` naming every record that cannot be imported; return if there are none."""
    if not found:
        return
    named = [(f"line {each.line}" if each.line else each.id or "a record", each) for each in found[:_MOST_NAMED]]
    faults = tuple(Fault(field, f"{place}: {each.message}", each.hint or None) for place, each in named)
    message = faults[0].message
    if len(found) > 1:
        message = f"{len(found)} records cannot be imported, so none was; the first: {message}"
    raise Invalid(
        message,
        field=field,
        hint=f"{faults[0].hint}; or pass skip_faults to import the others",
        data={"count": len(found)},
        faults=faults,
    )
