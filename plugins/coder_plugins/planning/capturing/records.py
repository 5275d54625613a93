"""One typed line as it is understood here, with what it names looked up; imported when somebody captures."""

from __future__ import annotations

from coder_local.api import NotFound, Transaction
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import Estimate
from coder_plugins.planning.rules.capture import Draft
from coder_plugins.planning.rules.durations import format_human
from coder_plugins.planning.tasks.finding.operations import find_task, new_rank, next_key, project_to_join
from coder_plugins.planning.tasks.records import Task


class Reading:
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
