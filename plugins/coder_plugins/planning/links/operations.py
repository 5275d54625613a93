"""What may be asked of links: make and take away one by the keys of its ends."""

from __future__ import annotations

from typing import NamedTuple

from coder_local.api import NotFound, Snapshot, Transaction
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import PROJECT, TASK, Reference, domain
from coder_plugins.planning.tasks.finding.operations import KEY, PROJECT_KEY, find_project, find_task
from coder_plugins.planning.tasks.records import Task

from .records import Link, LinkKind, RecordKind


@domain.command("planning.link")
def link(
    tx: Transaction,
    *,
    source: Reference,
    target: Reference,
    kind: LinkKind,
    source_type: RecordKind | None = None,
    target_type: RecordKind | None = None,
) -> Link:
    """Link two records; read it `source kind target`: with `blocks` the target waits for the source.

    Ends are ids or keys (`PLAN-12`, `PLAN`). `parent` reads: the source is the parent of the target. A type is needed
    for records of other plugins only. A link that is there already is answered as it is.
    """
    first, second = _end(tx, source, source_type, "source"), _end(tx, target, target_type, "target")
    found = _stored(tx, first.id, second.id, kind)
    if found is not None:
        return found
    return tx.insert(
        Link(source=first.id, target=second.id, kind=kind, source_type=first.type, target_type=second.type)
    )


@domain.command("planning.unlink")
def unlink(tx: Transaction, *, source: Reference, target: Reference, kind: LinkKind) -> Link:
    """Take a link away; ends are ids or keys, as for `planning.link`."""
    first, second = _id(tx, source, "source"), _id(tx, target, "target")
    found = _stored(tx, first, second, kind)
    if found is None and kind == "relates":
        found = _stored(tx, second, first, kind)
    if found is None:
        raise NotFound(
            f"{source} {kind} {target}: there is no such link",
            field="/source",
            hint="see planning.links.list; source and target may be the other way round",
        )
    return tx.delete(found)


class _End(NamedTuple):
    id: str
    type: str


def _end(tx: Snapshot, reference: str, type: str | None, field: str) -> _End:
    if type is not None and type not in {TASK, PROJECT}:
        return _End(reference, type)
    if type == PROJECT or (type is None and PROJECT_KEY.fullmatch(reference)):
        return _End(find_project(tx, reference, field).id, PROJECT)
    if type is None and not KEY.fullmatch(reference.upper()) and tx.find(Project, reference) is not None:
        return _End(reference, PROJECT)
    return _End(find_task(tx, reference, field).id, TASK)


def _id(tx: Snapshot, reference: str, field: str) -> str:
    """Return the id that a key stands for; any other text is taken as an id, for a record may be gone."""
    if KEY.fullmatch(reference.upper()) and tx.find(Task, reference) is None:
        return find_task(tx, reference, field).id
    if PROJECT_KEY.fullmatch(reference):
        return find_project(tx, reference, field).id
    return reference


def _stored(tx: Snapshot, source: str, target: str, kind: str) -> Link | None:
    where = "source = :source AND target = :target AND kind = :kind"
    return next(iter(tx.select(Link, where, source=source, target=target, kind=kind)), None)
