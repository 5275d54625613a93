"""GitHub issues: the JSON array of the REST interface, or of `gh issue list --json ...`.

An id is `owner/repository#12` where the record says its repository, else `12`. Labels become tags, except those that
say a priority (`P1`, `priority: high`). Task lists in the body are the checklist; the body stays whole. The milestone
is the project. Pull requests, which the interface lists among the issues, have the kind `pull_request`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from .documents import json_rows
from .fidelity import Codec, parsed, written
from .foreign import CLOSED, ForeignLink, ForeignTask, ImportFault, LinkKind, Parsed, Priority, Status
from .links import settled
from .reading import Reader, Record, as_list, as_object, shown
from .tasklists import tasklist, with_tasklist

_ADDRESS = re.compile(r"https?://[^/]+/(?:api/v3/)?(?:repos/)?([^/\s]+/[^/\s]+)/(?:issues|pull)/(\d+)")
_REPOSITORY = re.compile(r"https?://[^/]+/(?:api/v3/)?repos/([^/\s]+/[^/\s]+)")
_ID = re.compile(r"(?:([^/\s#]+/[^/\s#]+)#)?([1-9]\d{0,14})", re.ASCII)
_PRIORITY = re.compile(r"(?:prio(?:rity)?\s*[:/-]\s*)?(p[0-4]|urgent|critical|high|medium|low)", re.IGNORECASE)
_PRIORITIES: dict[str, Priority] = {
    "p0": "urgent",
    "urgent": "urgent",
    "critical": "urgent",
    "p1": "high",
    "high": "high",
    "p2": "medium",
    "medium": "medium",
    "p3": "low",
    "p4": "low",
    "low": "low",
}
_KINDS = {"bug": "bug", "enhancement": "feature", "feature": "feature", "question": "question", "chore": "chore"}
_SAYABLE: frozenset[tuple[LinkKind, bool]] = frozenset({("parent", False)})
_NUMBER_LIMIT = 2**53 - 1


def _name_of(value: Any, field: str) -> str:
    """Return the name of a label, login or milestone given as a text or as an object, or the empty text."""
    if isinstance(value, str):
        return value
    name = as_object(value).get(field)
    return name if isinstance(name, str) else ""


def _labels(reader: Reader) -> list[str]:
    names = [_name_of(label, "name") for label in reader.items("labels")]
    if not all(names):
        reader.fault("labels", "a label has no name", 'write each label as {"name": "text"} or as a text')
    return names


def _priority(labels: Sequence[str]) -> Priority:
    said = [match[1].lower() for label in labels if (match := _PRIORITY.fullmatch(label))]
    return _PRIORITIES[said[0]] if said else "none"


def _kind(reader: Reader, labels: Sequence[str]) -> str | None:
    if reader.record.get("pull_request") is not None:
        return "pull_request"
    named = _name_of(reader.record.get("type") or reader.record.get("issueType"), "name").lower()
    return named or next((_KINDS[label.lower()] for label in labels if label.lower() in _KINDS), None)


def _status(reader: Reader) -> Status:
    state = (reader.text("state") or "open").lower()
    if state not in {"open", "closed", "merged"}:
        reader.fault("state", f"state is {shown(state)}", "write open or closed")
    if state == "open":
        return "todo"
    reason = reader.text("state_reason") or reader.text("stateReason") or ""
    return "dropped" if reason.lower() in {"not_planned", "duplicate"} else "done"


def _assignee(reader: Reader) -> str | None:
    people = [_name_of(person, "login") for person in reader.items("assignees")]
    if not all(people):
        reader.fault("assignees", "an assignee has no login", 'write each one as {"login": "name"}')
    first = _name_of(reader.record.get("assignee"), "login")
    if first and people and first not in people:
        reader.fault("assignee", f"assignee {first} is not among assignees", "name the same person in both")
    return first or next(iter(people), None)


def _repository(record: Record) -> str | None:
    for name in ("html_url", "url"):
        match = _ADDRESS.match(str(record.get(name) or ""))
        if match:
            return match[1]
    match = _REPOSITORY.fullmatch(str(record.get("repository_url") or ""))
    return match[1] if match else None


def _links(record: Record, repository: str | None) -> tuple[ForeignLink, ...]:
    parents = [record.get("parent_issue_url"), record.get("parent")]
    nested = record.get("sub_issues") or record.get("subIssues")
    children = as_list(nested) or as_list(as_object(nested).get("nodes"))
    links = [ForeignLink("parent", id) for id in (_id_of(value, repository) for value in parents) if id]
    links += [ForeignLink("parent", id, inward=True) for id in (_id_of(value, repository) for value in children) if id]
    return tuple(dict.fromkeys(links))


def _id_of(value: Any, repository: str | None) -> str | None:
    """Return the id of another issue given by its address or as an object."""
    other = as_object(value)
    address = _ADDRESS.match(str(other.get("html_url") or other.get("url") or value))
    number = other.get("number")
    if address:
        return f"{address[1]}#{address[2]}"
    if not isinstance(number, int):
        return None
    return f"{repository}#{number}" if repository else str(number)


def _decode(reader: Reader) -> ForeignTask:
    labels, body = _labels(reader), reader.text("body") or ""
    number, repository = reader.integer("number", 1, _NUMBER_LIMIT), _repository(reader.record)
    if reader.record.get("number") is None:
        reader.fault("number", "number is missing", "export the field number too: it names the issue")
    return ForeignTask(
        id=f"{repository}#{number}" if repository else str(number or ""),
        title=reader.title("title"),
        status=_status(reader),
        priority=_priority(labels),
        kind=_kind(reader, labels),
        created_at=reader.moment("created_at") or reader.moment("createdAt"),
        updated_at=reader.moment("updated_at") or reader.moment("updatedAt"),
        closed_at=reader.moment("closed_at") or reader.moment("closedAt"),
        tags=tuple(dict.fromkeys(label for label in labels if label and not _PRIORITY.fullmatch(label))),
        assignee=_assignee(reader),
        description=body,
        checklist=tasklist(body),
        links=_links(reader.record, repository),
        project=_name_of(reader.record.get("milestone"), "title") or None,
    )


def _encode(task: ForeignTask) -> Record:
    camel = any(name in task.fields for name in ("createdAt", "updatedAt", "closedAt", "stateReason"))
    times = ("createdAt", "updatedAt", "closedAt") if camel else ("created_at", "updated_at", "closed_at")
    reason = "not_planned" if task.status == "dropped" else "completed"
    labels = [*task.tags, *([] if task.priority == "none" else [f"priority: {task.priority}"])]
    people = _people(task)
    fields: Record = {
        **_numbered(task),
        "title": task.title,
        "body": with_tasklist(task.description, task.checklist) or None,
        "state": "closed" if task.status in CLOSED else "open",
        "stateReason" if camel else "state_reason": reason if task.status in CLOSED else None,
        "type": {"name": task.kind} if task.kind and task.kind != "pull_request" else None,
        "pull_request": task.original.get("pull_request", {}) if task.kind == "pull_request" else None,
        "labels": _reused(labels, task.original.get("labels"), "name"),
        "assignee": people[0] if people else None,
        "assignees": people,
        "milestone": _reused([task.project], [task.original.get("milestone")], "title")[0] if task.project else None,
        **dict(zip(times, (task.created_at, task.updated_at, task.closed_at), strict=True)),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _people(task: ForeignTask) -> list[Any]:
    """Return the assignee, and behind it the others that the source named."""
    old: list[Any] = task.original.get("assignees") or []
    if task.assignee is None:
        return []
    logins = [_name_of(person, "login") for person in old]
    others = logins[1:] if task.assignee not in logins else [login for login in logins if login != task.assignee]
    return _reused([task.assignee, *others], [*old, task.original.get("assignee")], "login")


def _reused(names: Sequence[str], old: list[Any] | None, field: str) -> list[Any]:
    """Return each name as the source worded it, else as a new object."""
    known = {_name_of(value, field): value for value in reversed(old or [])}
    return [known.get(name, {field: name}) for name in names]


def _numbered(task: ForeignTask) -> Record:
    """Return the fields that name the issue and its parent; a foreign id gets a number made from it."""
    match = _ID.fullmatch(task.id)
    if match is None:
        digest = hashlib.sha256(task.id.encode()).digest()
        return {"number": int.from_bytes(digest[:6], "big") + 1}
    fields: Record = {"number": int(match[2])}
    if match[1]:
        fields["repository_url"] = f"https://api.github.com/repos/{match[1]}"
    parent = next(
        (_ID.fullmatch(link.target) for link in task.links if link.kind == "parent" and not link.inward), None
    )
    if parent and parent[1]:
        fields["parent_issue_url"] = f"https://api.github.com/repos/{parent[1]}/issues/{parent[2]}"
    return fields


# fmt: off
_KNOWN = frozenset({
    "number", "title", "body", "state", "state_reason", "stateReason", "type", "issueType", "pull_request",
    "labels", "assignee", "assignees", "milestone", "created_at", "createdAt", "updated_at", "updatedAt",
    "closed_at", "closedAt", "parent_issue_url", "parent", "sub_issues", "subIssues", "repository_url",
})
# fmt: on
_CODEC = Codec(name="github", known=_KNOWN, decode=_decode, encode=_encode)


def parse(text: str, *, source: str = "") -> Parsed:  # noqa: ARG001 - every format takes it, a record here says where it is from
    """Read issues of the REST interface or of `gh issue list --json`."""
    faults: list[ImportFault] = []
    return parsed(_CODEC, json_rows(text, faults), faults)


def render(tasks: Sequence[ForeignTask]) -> str:
    """Write an indented JSON array in the shape of the REST interface, or of `gh` for records that came from it."""
    records = written(_CODEC, settled(tasks, _SAYABLE))
    return msgspec.json.format(msgspec.json.encode(records), indent=2).decode() + "\n"
