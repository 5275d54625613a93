"""One export: what it makes of each task; imported when somebody exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from coder_local.api import Snapshot
from coder_plugins.planning.exchange.records import FormatName
from coder_plugins.planning.exchange.rules import linking, mapping
from coder_plugins.planning.formats import ForeignLink, ForeignTask
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import TASK
from coder_plugins.planning.tasks.finding.operations import find_project
from coder_plugins.planning.tasks.records import Task


class Departure:
    """One export."""

    def __init__(self, read: Snapshot, format: FormatName, project: str | None) -> None:
        self._format = format
        workspace = read.workspace
        home = None if project is None else find_project(read, project).id
        where = "workspace_id = :workspace AND (:project IS NULL OR project = :project)"
        self._tasks = read.select(Task, where, order="rank, id", workspace=workspace, project=home)
        self._projects = {each.id: each for each in read.select(Project, "workspace_id = :w", w=workspace)}
        where = "workspace_id = :w AND source_type = :task AND target_type = :task"
        self._links = read.select(Link, where, w=workspace, task=TASK)
        self._ids = self._unique_ids()
        ends = {end for link in self._links for end in (link.source, link.target)}
        self._others = self._ids_of(read, sorted(ends - self._ids.keys()) if home else [])

    def tasks(self) -> list[ForeignTask]:
        """Return every task with its links, each link stated once, at the end that stated it when it was read."""
        stated = self._stated()
        touched = self._touched(stated)
        return [self._foreign(task, stated.get(task.id, []), touched) for task in self._tasks]

    def _foreign(self, task: Task, links: Sequence[ForeignLink], touched: frozenset[str]) -> ForeignTask:
        home = self._projects.get(task.project or "")
        hours = home is None or home.unit == "hours"
        found = mapping.foreign_of(task, self._ids[task.id], hours=hours, project=home.name if home else None)
        if task.id in touched:
            found = replace(found, updated_at=task.updated_at)
        return replace(found, links=tuple(links))

    def _unique_ids(self) -> dict[str, str]:
        """Return how each task is named: as it was read, but of two issues 12 of two repositories only one is `12`."""
        ids: dict[str, str] = {}
        used: set[str] = set()
        for task in self._tasks:
            id = self._id_of(task)
            ids[task.id] = task.id if id in used else id
            used.add(id)
        return ids

    def _id_of(self, task: Task) -> str:
        kept = mapping.from_meta(task)
        return kept.id if kept is not None and kept.format == self._format else task.id

    def _ids_of(self, read: Snapshot, ids: Sequence[str]) -> dict[str, str]:
        """Return how tasks outside of this export are named in it."""
        where = "id IN (SELECT value FROM json_each(:ids))"
        return {task.id: self._id_of(task) for task in read.select(Task, where, ids=ids)} if ids else {}

    def _stated(self) -> dict[str, list[ForeignLink]]:
        """Return by task what it states: what it stated when it was read and still holds, then what came since."""
        names = self._ids | self._others
        nodes = {name: id for id, name in names.items()}
        here = {linking.canonical(linking.Edge(link.kind, link.source, link.target)) for link in self._links}
        said: set[linking.Edge] = set()
        stated: dict[str, list[ForeignLink]] = {}
        for task in self._tasks:
            kept = mapping.from_meta(task)
            for link in kept.links if kept else ():
                target = nodes.get(link.target) if kept and kept.format == self._format else None
                edge = linking.edge_of(task.id, link, target) if target else None
                if kept and link in kept.unmade:
                    stated.setdefault(task.id, []).append(link)
                elif edge in here and edge is not None:
                    stated.setdefault(task.id, []).append(link)
                    said.add(edge)
        for edge in sorted(here - said):
            self._state(edge, names, stated)
        return stated

    def _state(self, edge: linking.Edge, names: Mapping[str, str], stated: dict[str, list[ForeignLink]]) -> None:
        """State a link at the end that usually does, or at the other one if only that is exported."""
        usual, other = (edge.target, edge.source) if edge.kind == "parent" else (edge.source, edge.target)
        holder, target = (usual, other) if usual in self._ids else (other, usual)
        if holder in self._ids and target in names:
            inward = holder != usual and edge.kind != "relates"
            stated.setdefault(holder, []).append(ForeignLink(edge.kind, names[target], inward=inward))

    def _touched(self, stated: Mapping[str, Sequence[ForeignLink]]) -> frozenset[str]:
        """Return the tasks whose links were changed here since they were read."""
        return frozenset(
            task.id
            for task in self._tasks
            if (kept := mapping.from_meta(task)) is not None
            and kept.format == self._format
            and set(kept.links) != set(stated.get(task.id, ()))
        )
