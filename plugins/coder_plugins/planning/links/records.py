"""What is kept of a link, and what must hold for it: ends that exist, and no ring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from coder_local.api import Conflict, Fault, Id, Record, Snapshot, Transaction
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import PROJECT, TASK, changed, domain, refuse
from coder_plugins.planning.rules import cycles, moments
from coder_plugins.planning.tasks.records import Task

LinkKind = Literal["blocks", "parent", "relates", "duplicates", "discovered_from", "caused_by", "fixes", "implements"]
RecordKind = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", max_length=100)]
"""The kind of a record, `<plugin>.<word>`: `planning.task`, `knowledge.note`."""

ORDERING = frozenset({"blocks", "parent"})
"""Kinds that say an order among tasks; together they must not close a ring."""
_LOOK_UPS = 200
"""Tasks that are looked up one by one in the search for a ring, before all links are read at once."""


@domain.table("links", unique=(("source", "target", "kind"),), indexes=(("target",),))
class Link(Record):
    """One record says something of another. Read it `source kind target`.

    `A blocks B`: B waits for A. `P parent C`: P is the parent of C. `A duplicates B`, `A discovered_from B`,
    `A caused_by B`, `A fixes B`, `A implements B` read as written; `relates` has no direction.
    """

    source: Id
    target: Id
    kind: LinkKind
    source_type: RecordKind = TASK
    target_type: RecordKind = TASK


links = domain.standard(
    Link,
    operations=("list", "get", "create", "delete", "history"),  # a link is not changed: delete it and make another
    filters=("source", "target"),
    references={"source": (Task, Project), "target": (Task, Project)},
)


@domain.rule(Link)
def check_link(tx: Transaction, before: Link | None, after: Link) -> None:
    """Refuse ends that do not exist, a link to itself, a second `relates`, and a ring."""
    fields = ("source", "target", "kind", "source_type", "target_type", "deleted_at")
    if after.deleted_at is not None or not changed(before, after, *fields):
        return
    faults = _end_faults(tx, after)
    if after.source == after.target:
        faults.append(Fault("/target", "a record cannot be linked to itself", "name another record"))
    if after.kind in ORDERING and not after.source_type == after.target_type == TASK:
        faults.append(Fault("/kind", f"{after.kind} is for two tasks", "use relates for other records"))
    refuse(faults)
    if after.kind == "relates":
        _refuse_second(tx, after)
    if after.kind in ORDERING:
        _refuse_ring(tx, after)


def _end_faults(tx: Transaction, link: Link) -> list[Fault]:
    """Return a fault for each end that is not there; records of other plugins are soft references."""
    faults: list[Fault] = []
    for field, kind, id in (("source", link.source_type, link.source), ("target", link.target_type, link.target)):
        if kind == TASK:
            found = tx.rows("SELECT 1 FROM planning_tasks WHERE id = :id AND deleted_at IS NULL", id=id)
        elif kind == PROJECT:
            found = tx.rows("SELECT 1 FROM planning_projects WHERE id = :id AND deleted_at IS NULL", id=id)
        else:
            continue
        if not found:
            hint = "links hold ids; planning.link takes keys such as PLAN-12 too"
            faults.append(Fault(f"/{field}", f"there is no {kind} with id {id!r}", hint))
    return faults


def _refuse_second(tx: Transaction, link: Link) -> None:
    sql = (
        "SELECT id FROM planning_links"
        " WHERE source = :target AND target = :source AND kind = 'relates' AND deleted_at IS NULL AND id <> :id"
    )
    if tx.rows(sql, source=link.source, target=link.target, id=link.id):
        raise Conflict("these two are related already, the other way round", hint="relates has no direction")


def _refuse_ring(tx: Transaction, link: Link) -> None:
    new = moments.Link(as_ordering(link.kind), link.source, link.target)
    ring = cycles.find_cycle(_Neighbours(tx, link.id).of, new)
    if ring is None:
        return
    names = dict(_keys(tx, ring))
    told = [names.get(id, id) for id in ring]
    raise Conflict(
        f"{told[-2]} {link.kind} {told[0]} would close a ring: " + " > ".join(told),
        hint="take one of these links away first",
        data={"cycle": told, "ids": ring},
    )


def _keys(tx: Snapshot, ids: Sequence[str]) -> list[tuple[str, str]]:
    rows = tx.rows("SELECT id, key FROM planning_tasks WHERE id IN (SELECT value FROM json_each(:ids))", ids=ids)
    return [(id, key) for id, key in rows]


def as_ordering(kind: str) -> Literal["blocks", "parent"]:
    """Return the kind of a link that says an order, as the rules name it."""
    return "blocks" if kind == "blocks" else "parent"


class _Neighbours:
    """The stored links at either end of a task: a few are looked up one by one; when many are asked for, all are read.

    `but` is the id of the link that is being written again, which must not stand in its own way.
    """

    def __init__(self, tx: Snapshot, but: str) -> None:
        self._tx = tx
        self._but = but
        self._asked = 0
        self._all: Callable[[str], Sequence[moments.Link]] | None = None

    def of(self, task: str) -> Sequence[moments.Link]:
        """Return the ordering links at either end of the task."""
        if self._all is not None:
            return self._all(task)
        self._asked += 1
        if self._asked > _LOOK_UPS:
            self._all = cycles.touching(self._read())
            return self._all(task)
        rows = self._tx.rows(
            "SELECT kind, source, target FROM planning_links"
            " WHERE source = :task AND deleted_at IS NULL AND kind IN ('blocks', 'parent') AND id <> :but"
            " UNION ALL SELECT kind, source, target FROM planning_links"
            " WHERE target = :task AND deleted_at IS NULL AND kind IN ('blocks', 'parent') AND id <> :but",
            task=task,
            but=self._but,
        )
        return [moments.Link(*row) for row in rows]

    def _read(self) -> list[moments.Link]:
        rows = self._tx.rows(
            "SELECT kind, source, target FROM planning_links"
            " WHERE deleted_at IS NULL AND kind IN ('blocks', 'parent') AND id <> :but",
            but=self._but,
        )
        return [moments.Link(*row) for row in rows]
