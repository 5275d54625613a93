"""beads (`bd`): one issue a line, JSON.

In a dependency `depends_on_id` is the blocker, the parent or the origin of `issue_id`. Priority 0 is the most urgent,
4 means "some day". `blocked` is read as `todo`, because planning derives being blocked from the links. `superseded_by`
is read as `relates`; dependency types without a word here (`waits-for`, `replies-to`, ...) are kept but make no link.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .documents import json_lines
from .fidelity import Codec, parsed, written
from .foreign import ForeignLink, ForeignTask, ImportFault, LinkKind, Parsed, Priority, Status
from .links import settled
from .moments import as_instant
from .reading import Reader, Record, as_list, shown

_STATUSES: dict[str, Status] = {
    "open": "todo",
    "in_progress": "doing",
    "hooked": "doing",
    "blocked": "todo",
    "deferred": "backlog",
    "closed": "done",
    "tombstone": "dropped",
}
_STATUS_WORDS: dict[Status, str] = {
    "backlog": "deferred",
    "todo": "open",
    "doing": "in_progress",
    "review": "in_progress",
    "done": "closed",
    "dropped": "closed",
}
_PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "medium", "low", "none")
_LINKS: dict[str, tuple[LinkKind, bool]] = {
    "blocks": ("blocks", True),
    "parent-child": ("parent", False),
    "related": ("relates", False),
    "relates-to": ("relates", False),
    "discovered-from": ("discovered_from", False),
    "duplicates": ("duplicates", False),
    "caused-by": ("caused_by", False),
    "fixes": ("fixes", False),
    "implements": ("implements", False),
}
_LINK_WORDS: dict[LinkKind, str] = {kind: word for word, (kind, _) in reversed(_LINKS.items())}
_SAYABLE = frozenset(_LINKS.values())
_YEAR_MINUTES = 60 * 24 * 366 * 100


def _links(reader: Reader) -> tuple[ForeignLink, ...]:
    found: list[ForeignLink] = []
    own = reader.record.get("id")
    for index, edge in enumerate(reader.objects("dependencies")):
        link = _link(edge, own)
        if link is None:
            hint = "name both ends: issue_id, depends_on_id and type, as texts"
            message = f"the dependency {shown(edge)} does not name this issue"
            reader.fault("dependencies", message, hint, index=index)
        else:
            found.extend(link)
    duplicate, superseded = reader.text("duplicate_of"), reader.text("superseded_by")
    found += [ForeignLink("duplicates", duplicate)] if duplicate else []
    found += [ForeignLink("relates", superseded)] if superseded else []
    return tuple(dict.fromkeys(found))


def _link(edge: Record, own: object) -> list[ForeignLink] | None:
    """Return the link of one dependency, none for a type without a word here, or None for what is no dependency."""
    holder, target, word = edge.get("issue_id", own), edge.get("depends_on_id"), edge.get("type", "blocks")
    if not (isinstance(holder, str) and isinstance(target, str) and isinstance(word, str)) or own not in (
        holder,
        target,
    ):
        return None
    if word not in _LINKS:
        return []
    kind, inward = _LINKS[word]
    if holder == own:
        return [ForeignLink(kind, target, inward=inward)]
    return [ForeignLink(kind, holder, inward=kind != "relates" and not inward)]


def _decode(reader: Reader) -> ForeignTask:
    priority = reader.integer("priority", 0, 4)
    closed_at = reader.moment("closed_at")
    status = _STATUSES.get(reader.text("status") or "open", "done" if closed_at else "todo")
    return ForeignTask(
        id=reader.identity("id"),
        title=reader.title("title"),
        status=status,
        priority="none" if priority is None else _PRIORITIES[priority],
        kind=reader.text("issue_type"),
        created_at=reader.moment("created_at"),
        updated_at=reader.moment("updated_at"),
        closed_at=closed_at,
        due=reader.moment("due_at"),
        wait_until=reader.moment("defer_until"),
        estimate_minutes=reader.integer("estimated_minutes", 0, _YEAR_MINUTES),
        tags=reader.texts("labels"),
        assignee=reader.text("assignee"),
        description=reader.text("description") or "",
        links=_links(reader),
    )


def _encode(task: ForeignTask) -> Record:
    fields: Record = {
        "id": task.id,
        "title": task.title,
        "description": task.description or None,
        "status": _STATUS_WORDS[task.status],
        "priority": _PRIORITIES.index(task.priority),
        "issue_type": task.kind,
        "assignee": task.assignee,
        "estimated_minutes": task.estimate_minutes,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "closed_at": task.closed_at,
        "due_at": task.due and as_instant(task.due),
        "defer_until": task.wait_until and as_instant(task.wait_until),
        "labels": list(task.tags) or None,
        "dependencies": _edges(task) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _edges(task: ForeignTask) -> list[Record]:
    """Return the dependencies of the source that still hold, as they were, then those of links that are new."""
    edges: list[Record] = []
    said: set[ForeignLink] = set()
    for edge in as_list(task.original.get("dependencies")):
        links = _link(edge, task.id) or []
        if all(link in task.links for link in links):
            edges.append(edge)
            said.update(links)
    for link in task.links:
        if link not in said:
            ends = (task.id, link.target) if (link.kind, link.inward) in _SAYABLE else (link.target, task.id)
            edges.append({"issue_id": ends[0], "depends_on_id": ends[1], "type": _LINK_WORDS[link.kind]})
    return edges


# fmt: off
_KNOWN = frozenset({
    "id", "title", "description", "status", "priority", "issue_type", "assignee", "estimated_minutes", "created_at",
    "updated_at", "closed_at", "due_at", "defer_until", "labels", "dependencies", "duplicate_of", "superseded_by",
})
# fmt: on
_CODEC = Codec(name="beads", known=_KNOWN, decode=_decode, encode=_encode)


def parse(text: str, *, source: str = "") -> Parsed:  # noqa: ARG001 - every format takes it, ids here need none
    """Read an export of beads, one JSON object a line."""
    faults: list[ImportFault] = []
    return parsed(_CODEC, json_lines(text, faults), faults)


def render(tasks: Sequence[ForeignTask]) -> str:
    """Write one JSON object a line."""
    records = written(_CODEC, settled(tasks, _SAYABLE))
    return "".join(msgspec.json.encode(record).decode() + "\n" for record in records)
