"""One import: what it makes of each record, and writing it; imported when somebody imports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from coder_local.api import Transaction, sequence
from coder_plugins.planning.exchange.records import (
    FormatName,
    ImportReport,
    LeftOut,
    Origin,
    RefusedLink,
    SkippedRecord,
    UnresolvedLink,
)
from coder_plugins.planning.exchange.rules import linking, mapping, naming
from coder_plugins.planning.formats import FORMATS, ForeignLink, ForeignTask
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.tasks.finding.operations import find_project, last_rank, next_key, unit_of
from coder_plugins.planning.tasks.records import CLOSED, Task
from coder_plugins.planning.times.operations import stop_of_task

_META_LIMIT = 64 * 1024
_MARGIN = 2 * 1024
"""Bytes of a record's `meta` that are kept free beside its origin."""


class Incoming(Struct):
    """One record on its way in."""

    foreign: ForeignTask
    taken: mapping.Taken
    task: Task | None = None
    """The task that is this record; None until it is made."""
    before: Origin | None = None
    """What was kept of it at the last import."""
    base: Mapping[str, str] = {}
    """Marks of the fields as the file last said them."""
    origin: Origin | None = None
    """What is to be kept of it now."""
    changes: dict[str, Any] = {}
    """What is to be written of a task that is here."""

    @property
    def node(self) -> str:
        """Its name among nodes: the task's id, or the foreign id behind a character that no id of ours has."""
        return self.task.id if self.task else f"\n{self.foreign.id}"


class Arrival:
    """One import. `prepare` reads and decides, `write` writes; between the two nothing has changed."""

    def __init__(
        self,
        tx: Transaction,
        *,
        format: FormatName,
        tasks: Sequence[ForeignTask],
        project: str | None,
        file: str | None,
    ) -> None:
        self._tx = tx
        self._format = format
        self._today = mapping.today(tx.now())
        self._carried = mapping.carried_fields(FORMATS[format].carries)
        tasks = [task if task.format else replace(task, format=format) for task in tasks]
        self._place = naming.place_of(format, tasks, file)
        self.project = self._find_project(project, tasks)
        self.records = [Incoming(task, self._take(task)) for task in tasks]
        self.skipped: list[SkippedRecord] = []
        self._links = linking.LinkPlan()
        self._merged: dict[str, str] = {}
        """By foreign id, the tasks that others were merged into."""
        self._passed_over = 0

    @property
    def _hours(self) -> bool:
        return self.project is None or self.project.unit == "hours"

    def _take(self, foreign: ForeignTask) -> mapping.Taken:
        return mapping.taken(foreign, today=self._today, hours=self._hours)

    def faults(self) -> list[SkippedRecord]:
        """Return what keeps records from being imported: their faults, and ids that are used twice."""
        counts = Counter(record.foreign.id for record in self.records)
        found = [
            SkippedRecord(line=0, id=record.foreign.id, message=message, hint=hint)
            for record in self.records
            for message, hint in record.taken.faults
        ]
        hint = "give each record an id of its own"
        twice = [id for id, count in counts.items() if count > 1]
        return found + [SkippedRecord(line=0, id=id, message="the id is used twice", hint=hint) for id in twice]

    def skip(self, faults: Sequence[SkippedRecord]) -> None:
        """Leave out the records with faults; of those with the same id the first stays."""
        self.skipped += faults
        kept = {record.foreign.id: record for record in reversed(self.records) if not record.taken.faults}
        self.records = [record for record in self.records if kept.get(record.foreign.id) is record]

    def prepare(self) -> None:
        """Find the tasks that the records are, and decide on links. Reads only."""
        self._match()
        self._pass_over_merged()
        self._join_project()
        self._links = self._plan_links()
        for record in self.records:
            record.origin = self._origin(record)
            record.changes = self._changes(record)

    def report(self, *, dry_run: bool) -> ImportReport:
        """Return what `write` will do."""
        created = sum(1 for record in self.records if record.task is None)
        updated = sum(1 for record in self.records if record.changes)
        plan = self._links
        return ImportReport(
            format=self._format,
            project=self.project.key if self.project and self.records else None,
            created=created,
            updated=updated,
            unchanged=len(self.records) + self._passed_over - created - updated,
            links=plan.standing,
            links_created=len(plan.create),
            links_deleted=len(plan.delete),
            unresolved=[
                UnresolvedLink(id=each.record.id, kind=each.link.kind, target=each.link.target)
                for each in plan.unresolved
            ],
            refused_links=self._refused(),
            left_out=self._left_out(),
            skipped=self.skipped,
            dry_run=dry_run,
        )

    def write(self) -> None:
        """Write it all: the project, the tasks, the links."""
        new = [record for record in self.records if record.task is None]
        if new and self.project is not None and not self.project.rev:
            self.project = self._tx.insert(self.project)
        ranks = sequence(last_rank(self._tx), None, len(new))
        nodes = {
            record.node: self._insert(record.foreign, record.taken, record.origin, rank).id
            for record, rank in zip(new, ranks, strict=True)
        }
        for record in self.records:
            if record.task is not None and record.changes:
                if record.changes.get("status") in CLOSED:
                    stop_of_task(self._tx, record.task.id, self._tx.now())
                self._tx.update(record.task, **record.changes)
        if self._links.delete:
            where = "id IN (SELECT value FROM json_each(:ids))"
            for link in self._tx.select(Link, where, ids=self._links.delete):
                self._tx.delete(link)
        origin = f"import:{self._format}"
        for kind, source, target in self._links.create:
            ends = nodes.get(source, source), nodes.get(target, target)
            self._tx.insert(Link(source=ends[0], target=ends[1], kind=kind, origin=origin))

    # -- the project --------------------------------------------------------------------------------------------------

    def _find_project(self, reference: str | None, tasks: Sequence[ForeignTask]) -> Project | None:
        """Return the project that new tasks go to, one that is yet to be inserted (`rev` 0), or None for no tasks."""
        if reference is not None:
            return find_project(self._tx, reference)
        if not tasks:
            return None
        tx, place = self._tx, self._place
        where = "workspace_id = :workspace AND source = :source"
        found = tx.select(Project, where, limit=1, workspace=tx.workspace, source=place.source)
        if found:
            return found[0]

        def taken(key: str) -> bool:
            where = "workspace_id = :workspace AND key = :key"
            return bool(tx.select(Project, where, limit=1, workspace=tx.workspace, key=key))

        origin = f"import:{self._format}"
        return Project(name=place.name, key=naming.free_key(place.key, taken), source=place.source, origin=origin)

    def _join_project(self) -> None:
        """Let new records go where those are that were here before, rather than to a project made for them."""
        homes = Counter(record.task.project for record in self.records if record.task and record.task.project)
        if self.project is None or self.project.rev or not homes:
            return
        home = self._tx.find(Project, homes.most_common(1)[0][0])
        if home is None:
            return
        self.project = home
        if home.unit != "hours":
            for record in self.records:
                record.taken = self._take(record.foreign)

    # -- the tasks ----------------------------------------------------------------------------------------------------

    def _match(self) -> None:
        """Find the task of each record: by its source, else by its own id, which is what an export writes."""
        found = self._tasks_of([record.foreign.id for record in self.records])
        seen: set[str] = set()
        for record in self.records:
            task = found.get(record.foreign.id)
            if task is None or task.id in seen:
                continue
            seen.add(task.id)
            record.task = task
            kept = mapping.from_meta(task)
            if kept is not None and kept.format == self._format:
                record.before, record.base = kept, kept.base
        self._compare_with_own([record for record in self.records if record.task and not record.before])

    def _tasks_of(self, ids: Sequence[str]) -> dict[str, Task]:
        """Return the tasks that foreign ids stand for."""
        tx, project = self._tx, self.project.id if self.project else ""
        sources = {mapping.source_of(self._format, id, project): id for id in ids}
        where = "workspace_id = :workspace AND source IN (SELECT value FROM json_each(:sources))"
        by_source = tx.select(Task, where, workspace=tx.workspace, sources=list(sources))
        found = {sources[task.source]: task for task in by_source if task.source}
        where = "workspace_id = :workspace AND id IN (SELECT value FROM json_each(:ids))"
        rest = [id for id in ids if id not in found]
        return found | {task.id: task for task in tx.select(Task, where, workspace=tx.workspace, ids=rest)}

    def _pass_over_merged(self) -> None:
        """Leave records alone whose tasks were merged into others: those others are not what the records say."""
        self._merged = self._find_merged()
        kept = [record for record in self.records if record.task or record.foreign.id not in self._merged]
        self._passed_over = len(self.records) - len(kept)
        self.records = kept

    def _find_merged(self) -> dict[str, str]:
        rows = self._tx.rows(
            "SELECT part.value ->> 'source', part.value ->> 'id', task.id"
            " FROM planning_tasks task, json_each(task.meta, '$.merged_from') part"
            " WHERE task.workspace_id = :workspace AND task.deleted_at IS NULL AND part.type = 'object'",
            workspace=self._tx.workspace,
        )
        by_source = {source: task for source, _, task in rows if source}
        by_id = {id: task for _, id, task in rows if id}
        project = self.project.id if self.project else ""
        found: dict[str, str] = {}
        for id in self._mentioned():
            task = by_source.get(mapping.source_of(self._format, id, project)) or by_id.get(id)
            if task is not None:
                found[id] = task
        return found

    def _mentioned(self) -> set[str]:
        """Return the foreign ids of all records, and of those that they or an earlier import of them link to."""
        foreign = [record.foreign for record in self.records]
        before = [record.before.links for record in self.records if record.before]
        links = {link.target for links in (*before, *(each.links for each in foreign)) for link in links}
        return links.union(each.id for each in foreign)

    def _compare_with_own(self, records: Sequence[Incoming]) -> None:
        """Hold records that were never read from this format against what an export would write of them now.

        Else whatever the format cannot say, such as `review` in a checklist, would be taken for a change.
        """
        own = [
            mapping.foreign_of(record.task, record.task.id, hours=self._hours, project=None)
            for record in records
            if record.task
        ]
        if not own:
            return
        again = FORMATS[self._format].parse(FORMATS[self._format].render(own)).tasks
        read = {task.id: self._take(task) for task in again}
        for record in records:
            if record.task and record.task.id in read:
                record.base = mapping.marks(read[record.task.id].fields)

    def _origin(self, record: Incoming) -> Origin:
        task = record.task or Task(key="", rank="", title="", created_at=record.foreign.created_at or self._tx.now())
        others = {name: value for name, value in task.meta.items() if name != "source"}
        room = _META_LIMIT - _MARGIN - len(msgspec.json.encode(others))
        kept = mapping.origin(
            record.foreign, replace(task, **record.taken.fields), record.taken, hours=self._hours, room=room
        )
        home = record.before.base.get("project", "") if record.before else mapping.mark(task.project)
        unmade = tuple(self._links.unmade.get(record.node, ()))
        return replace(kept, base={**kept.base, "project": home} if home else kept.base, unmade=unmade)

    def _changes(self, record: Incoming) -> dict[str, Any]:
        """Return what is to be written of a task that is here; {} when nothing is."""
        task = record.task
        if task is None or record.origin is None:
            return {}
        fields = record.taken.fields
        if task.project and self.project and task.project != self.project.id:
            # It was moved here, maybe to a project of another unit: minutes would be taken for points.
            same = (unit_of(self._tx, task.project) == "hours") == self._hours
            fields = fields if same else {name: value for name, value in fields.items() if name != "estimate"}
        changes = mapping.changes(task, record.base, fields, self._carried)
        kept = mapping.from_meta(task)
        if kept is None or kept.format == self._format:
            changes["meta"] = {**task.meta, "source": mapping.to_meta(record.origin)}
            changes["source"] = task.source or self._source(record.foreign)
        return {name: value for name, value in changes.items() if getattr(task, name) != value}

    def _insert(self, foreign: ForeignTask, taken: mapping.Taken, kept: Origin | None, rank: str) -> Task:
        tx, home = self._tx, self.project.id if self.project else None
        assert kept is not None, "prepare() made it"  # noqa: S101 - for the type checker
        kept = replace(kept, base={**kept.base, "project": mapping.mark(home)}) if home else kept
        return tx.insert(
            Task(
                key=next_key(tx, self.project),
                rank=rank,
                project=home,
                created_at=foreign.created_at or tx.now(),
                origin=f"import:{self._format}",
                source=self._source(foreign),
                meta={"source": mapping.to_meta(kept)},
                **taken.fields,
            )
        )

    def _source(self, foreign: ForeignTask) -> str:
        return mapping.source_of(self._format, foreign.id, self.project.id if self.project else "")

    # -- the links ----------------------------------------------------------------------------------------------------

    def _plan_links(self) -> linking.LinkPlan:
        nodes = {record.foreign.id: record.node for record in self.records}
        others = self._mentioned() - nodes.keys()
        nodes |= {id: task.id for id, task in self._tasks_of(sorted(others)).items()}
        nodes = self._merged | nodes
        stating = [self._stating(record, nodes) for record in self.records]
        return linking.plan(stating, nodes.get, self._stored_links(), lambda node: not node.startswith("\n"))

    def _stating(self, record: Incoming, nodes: Mapping[str, str]) -> linking.Stating:
        """Return the links that a record states, without those to what was merged into it."""

        def outward(links: Sequence[ForeignLink]) -> tuple[ForeignLink, ...]:
            own = record.foreign.id
            return tuple(link for link in links if link.target == own or nodes.get(link.target) != record.node)

        before = record.before
        return linking.Stating(
            record.node,
            record.foreign.id,
            outward(record.foreign.links),
            outward(before.links) if before else (),
            outward(before.unmade) if before else (),
        )

    def _stored_links(self) -> dict[linking.Edge, linking.Stored]:
        rows = self._tx.rows(
            "SELECT kind, source, target, id, origin FROM planning_links"
            " WHERE workspace_id = :workspace AND deleted_at IS NULL",
            workspace=self._tx.workspace,
        )
        return {
            linking.canonical(linking.Edge(kind, source, target)): linking.Stored(id, origin.startswith("import:"))
            for kind, source, target, id, origin in rows
        }

    def _refused(self) -> list[RefusedLink]:
        refused = self._links.refused
        names = {record.node: record.foreign.id for record in self.records}
        ids = sorted({node for _, ring in refused for node in ring} - names.keys())
        where = "id IN (SELECT value FROM json_each(:ids))"
        names |= {task.id: task.key for task in self._tx.select(Task, where, ids=ids)} if ids else {}
        return [
            RefusedLink(
                id=statement.record.id,
                kind=statement.link.kind,
                target=statement.link.target,
                cycle=[names.get(node, node) for node in ring],
            )
            for statement, ring in refused
        ]

    def _left_out(self) -> list[LeftOut]:
        lost = "it is too large to keep, and is not written back"
        return [
            LeftOut(id=record.foreign.id, field=name, reason=reason)
            for record in self.records
            for name, reason in (
                *record.taken.left_out,
                *((name, lost) for name in (record.origin.left_out if record.origin else ())),
            )
        ]
