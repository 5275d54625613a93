"""One typed line to one task: `fix login !high #auth ~2h due fri after PLAN-12`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta

from coder_local.api import Fault, LocalDate, NotFound, Transaction, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import Estimate, Reference, domain, refuse
from coder_plugins.planning.rules import capture as lines
from coder_plugins.planning.rules.capture import Draft
from coder_plugins.planning.rules.durations import format_human
from coder_plugins.planning.tasks.finding.operations import find_task, new_rank, next_key, project_to_join
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
    given = [line for line in text.splitlines() if line.strip()]
    if not 1 <= len(given) <= _MOST:
        refuse([Fault("/text", f"{len(given)} lines: 1 to {_MOST} are taken at once")])
    default = None if project is None else project_to_join(tx, project)
    day = date.fromisoformat(today_of(tx, today))
    drafts = [_Reading(tx, lines.capture(line, day), default) for line in given]
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


class _Reading:
    """One line as it is understood here: with the project and the tasks that it names looked up."""

    def __init__(self, tx: Transaction, draft: Draft, default: Project | None) -> None:
        self._tx = tx
        self._draft = draft
        self.unparsed = list(draft.unparsed)
        self._left: list[str] = []
        self._project = self._named_project(draft, default)
        self._after = [task for key in draft.after if (task := self._task(key)) is not None]
        self._estimate = self._worth(draft)
        self.title = " ".join([draft.title, *self._left]).strip()

    def write(self) -> Task:
        """Insert the task, and its links to those it waits for."""
        draft, tx = self._draft, self._tx
        task = tx.insert(
            Task(
                key=next_key(tx, self._project),
                rank=new_rank(tx),
                project=None if self._project is None else self._project.id,
                title=self.title,
                priority=draft.priority or "none",
                estimate=self._estimate,
                due=None if draft.due is None else draft.due.isoformat(),
                tags=draft.tags,
            )
        )
        for other in self._after:
            tx.insert(Link(source=other.id, target=task.id, kind="blocks"))
        return task

    def _named_project(self, draft: Draft, default: Project | None) -> Project | None:
        if draft.project is None:
            return default
        try:
            return project_to_join(self._tx, draft.project)
        except NotFound:
            self._leave(f"@{draft.project}")
            return default

    def _task(self, key: str) -> Task | None:
        try:
            return find_task(self._tx, key)
        except NotFound:
            self._leave(f"after {key}")
            return None

    def _worth(self, draft: Draft) -> Estimate | None:
        if draft.estimate is None:
            return None
        if self._project is not None and self._project.unit == "points":
            self._leave("~" + format_human(draft.estimate).replace(" ", ""))
            return None
        return Estimate(likely=draft.estimate)

    def _leave(self, words: str) -> None:
        self.unparsed.append(words)
        self._left.append(words)
