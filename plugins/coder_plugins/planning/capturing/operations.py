"""One typed line to one task: `fix login !high #auth ~2h due fri after PLAN-12`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta

from coder_local.api import Fault, LocalDate, Transaction, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.records import Reference, domain, refuse
from coder_plugins.planning.tasks.finding.operations import project_to_join
from coder_plugins.planning.tasks.records import Task

_MOST = 200


class Captured(Value):
    """The tasks made of the lines, and what in them was not understood (it stands in the titles)."""

    tasks: list[Task]
    unparsed: list[str]


@domain.command("planning.capture")
def capture(
    tx: Transaction,
    *,
    text: Annotated[str, Meta(min_length=1, max_length=20_000)],
    project: Reference | None = None,
    today: LocalDate | None = None,
) -> Captured:
    """Make a task of each line: `fix login !high #auth ~2h @PLAN due fri after PLAN-12`.

    `!high` is the priority, `#auth` a tag, `~2h` the estimate, `@PLAN` the project (`project` when there is none),
    `due` takes a date or `fri`, `tomorrow`, `+3d`, and `after` keys of tasks to wait for. What is not understood, a key
    that nothing has, or an estimate in a project of points, stays in the title and is named. Quotes take text as is.
    """
    # The grammar is a tenth of planning's import, and most starts capture nothing.
    from coder_plugins.planning.rules import capture as lines  # noqa: PLC0415

    from .records import Reading  # noqa: PLC0415

    given = [line for line in text.splitlines() if line.strip()]
    if not 1 <= len(given) <= _MOST:
        refuse([Fault("/text", f"{len(given)} lines: 1 to {_MOST} are taken at once")])
    default = None if project is None else project_to_join(tx, project)
    day = date.fromisoformat(today_of(tx, today))
    drafts = [Reading(tx, lines.capture(line, day), default) for line in given]
    faults = [
        Fault("/text", f"nothing is left for a title in {line.strip()[:60]!r}", "write what is to be done")
        if not draft.title
        else Fault("/text", f"the title of {line.strip()[:60]!r}... is over 300 characters", "shorten it")
        for line, draft in zip(given, drafts, strict=True)
        if not 1 <= len(draft.title) <= 300
    ]
    refuse(faults)
    return Captured(
        tasks=[draft.write() for draft in drafts], unparsed=[word for draft in drafts for word in draft.unparsed]
    )
