"""Taking tasks out of the database in the words of another tool."""

from __future__ import annotations

from coder_local.api import Snapshot
from coder_plugins.planning.exchange.records import Exported, FormatName
from coder_plugins.planning.formats import FORMATS
from coder_plugins.planning.records import Reference, domain


@domain.query("planning.export", deadline=60.0)
def export(read: Snapshot, *, format: FormatName, project: Reference | None = None) -> Exported:
    """Return the tasks of a project, or all tasks, in the format of another tool.

    A record that came from that tool and was not changed here is written as it was read, with all its fields; what was
    changed here is changed there. Tasks stand in the order of the list, and links are said at the end where the format
    can say them.
    """
    from .records import Departure  # noqa: PLC0415 - needed for an export only

    foreign = Departure(read, format, project).tasks()
    return Exported(format=format, text=FORMATS[format].render(foreign), count=len(foreign))
