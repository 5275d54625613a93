"""What a foreign record means in planning's fields, and back; pure functions.

Planning counts in days, keeps a few texts shorter than other tools do, and has no word for a record's last change
elsewhere. So reading loses something; what it loses stays in `Origin.read`, and is said again as long as the field was
not changed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from coder_local.api import parse_instant
from coder_plugins.planning.exchange.records import Origin
from coder_plugins.planning.formats import MEANING_FIELDS, ForeignTask
from coder_plugins.planning.formats import CheckItem as ForeignItem
from coder_plugins.planning.records import Estimate
from coder_plugins.planning.rules.durations import LONGEST
from coder_plugins.planning.rules.recurrence import Endless, Recurrence, from_rrule, refuse_endless
from coder_plugins.planning.tasks.records import CLOSED, LONGEST_TAG, MOST_ITEMS, MOST_TAGS, ChecklistItem, Task

WORDS: Mapping[str, str] = {
    "title": "title",
    "status": "status",
    "priority": "priority",
    "kind": "kind",
    "closed_at": "completed_at",
    "due": "due",
    "wait_until": "wait_until",
    "estimate_minutes": "estimate",
    "tags": "tags",
    "assignee": "assignee",
    "description": "description",
    "checklist": "checklist",
    "recurrence": "recurrence",
}
"""Fields of `ForeignTask` and the fields of `Task` that say the same."""

ORIGIN_LIMIT = 60 * 1024
"""Bytes that an origin may take of the 64 KiB that a record's `meta` may have."""
_LONGEST_DESCRIPTION = 1_000_000
_LONGEST_KIND = 50
_LONGEST_NAME = 200
_LONGEST_ITEM = 1_000
_LONGEST_SOURCE = 500
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(\.\d+)?(Z|\[[^\[\]]+\])?", re.ASCII)
_UNIT_WORDS = {"day": "DAILY", "week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY"}
_PAIRED = (("status", "completed_at"),)
"""Fields of `Task` that make sense together only."""


class Taken(Struct):
    """One record in planning's fields; `left_out` is what a task cannot hold, as field and reason."""

    fields: dict[str, Any]
    left_out: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    faults: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Message and cure of each thing that keeps the record from being imported."""


def taken(foreign: ForeignTask, *, today: date, hours: bool = True) -> Taken:
    """Return a record in planning's fields; `hours` tells whether the project counts its estimates in working time."""
    result = Taken({"title": foreign.title, "status": foreign.status, "priority": foreign.priority})
    result.fields["description"] = foreign.description
    if not 1 <= len(foreign.title) <= 300:
        result.faults.append(("a title has 1 to 300 characters", "shorten it, and move the rest to the description"))
    if len(foreign.description) > _LONGEST_DESCRIPTION:
        hint = f"shorten it to {_LONGEST_DESCRIPTION}"
        result.faults.append((f"the description has {len(foreign.description)} characters", hint))
    if not foreign.id:
        result.faults.append(("the record has no id", "give it an id of its own"))
    _take_texts(result, foreign)
    _take_times(result, foreign, today)
    minutes = foreign.estimate_minutes
    if minutes is not None and not (hours and 0 <= minutes <= LONGEST):
        reason = "its project is estimated in points" if not hours else f"an estimate is 0 to {LONGEST} minutes"
        result.left_out.append(("estimate", reason))
        minutes = None
    result.fields["estimate"] = None if minutes is None else Estimate(likely=minutes)
    return result


def _take_texts(result: Taken, foreign: ForeignTask) -> None:
    for name, limit in (("kind", _LONGEST_KIND), ("assignee", _LONGEST_NAME)):
        value: str | None = getattr(foreign, name)
        fits = value is None or 1 <= len(value) <= limit
        result.fields[name] = value if fits else None
        if not fits and value:
            result.left_out.append((name, f"it has {len(value)} characters, {limit} are allowed"))
    tags = [tag for tag in foreign.tags if 1 <= len(tag) <= LONGEST_TAG][:MOST_TAGS]
    if len(tags) < len(foreign.tags):
        reason = f"a task has at most {MOST_TAGS} tags of 1 to {LONGEST_TAG} characters"
        result.left_out.append(("tags", reason))
    items = [ChecklistItem(text=item.text, done=item.done) for item in foreign.checklist]
    held = [item for item in items if 1 <= len(item.text) <= _LONGEST_ITEM][:MOST_ITEMS]
    if len(held) < len(items):
        reason = f"a checklist has at most {MOST_ITEMS} items of 1 to {_LONGEST_ITEM} characters"
        result.left_out.append(("checklist", reason))
    result.fields["tags"] = tags
    result.fields["checklist"] = held


def _take_times(result: Taken, foreign: ForeignTask, today: date) -> None:
    days: dict[str, str | None] = {}
    for name, moment in (("due", foreign.due), ("wait_until", foreign.wait_until)):
        days[name] = None if moment is None else day_of(moment)
        if moment is not None and days[name] is None:
            result.faults.append((f"{name} is {moment[:40]!r}, which is no day or time", "write it like 2026-11-20"))
    if days["due"] and days["wait_until"] and days["due"] < days["wait_until"]:
        message = f"due {days['due']} is before its start (wait_until {days['wait_until']})"
        result.faults.append((message, "move one of them; a task cannot be due before it can be begun"))
    for name in ("created_at", "updated_at", "closed_at"):
        moment = getattr(foreign, name)
        if moment is not None and not _is_instant(moment):
            result.faults.append(
                (f"{name} is {moment[:40]!r}, which is no instant", "write it like 2026-11-20T16:15:27Z")
            )
    ended = foreign.closed_at or foreign.updated_at or foreign.created_at
    result.fields |= days
    result.fields["completed_at"] = ended if foreign.status in CLOSED else None
    first = days["due"] or days["wait_until"] or (foreign.created_at or "")[:10]
    result.fields["recurrence"] = _recurrence(result, foreign, first, today)


def _recurrence(result: Taken, foreign: ForeignTask, first: str, today: date) -> Recurrence | None:
    if foreign.recurrence is None:
        return None
    try:
        rule = from_rrule(foreign.recurrence, date.fromisoformat(first) if first else today)
        if foreign.status not in CLOSED:
            refuse_endless(rule, today)
    except Endless as error:
        result.faults.append((str(error), "end it with UNTIL or COUNT, or let it start later"))
    except ValueError as error:
        result.left_out.append(("recurrence", str(error)))
    else:
        return rule
    return None


def day_of(moment: str) -> str | None:
    """Return the day that a moment of `ForeignTask` falls on, or None for a text that is none.

    A moment with a wall time falls on its own day, an instant on the day it has here: a tool that keeps "due on
    Tuesday" as an instant means Tuesday where the person is.
    """
    match = _MOMENT.fullmatch(moment)
    try:
        if match is None:
            return date.fromisoformat(moment).isoformat() if _DAY.fullmatch(moment) else None
        day = date.fromisoformat(match[1]).isoformat()
    except ValueError:
        return None
    if match[3] != "Z":
        return day
    try:
        return datetime.fromisoformat(moment).astimezone().date().isoformat()
    except (ValueError, OverflowError, OSError):  # Windows knows no local time before 1970
        return day


def _is_instant(text: str) -> bool:
    try:
        return text.endswith("Z") and bool(parse_instant(text))
    except (ValueError, OverflowError):
        return False


def said(task: Task, *, hours: bool = True) -> dict[str, Any]:
    """Return what planning's fields of a task say, as fields of `ForeignTask`; no links, no project, no last change."""
    return {
        "title": task.title,
        "status": task.status,
        "priority": task.priority,
        "kind": task.kind,
        "created_at": task.created_at,
        "closed_at": task.completed_at,
        "due": task.due,
        "wait_until": task.wait_until,
        "estimate_minutes": task.estimate.likely if task.estimate and hours else None,
        "tags": tuple(task.tags),
        "assignee": task.assignee,
        "description": task.description,
        "checklist": tuple(ForeignItem(item.text, done=item.done) for item in task.checklist),
        "recurrence": _rrule(task.recurrence),
    }


def _rrule(rule: Recurrence | None) -> str | None:
    if rule is None:
        return None
    if rule.rrule is not None:
        return rule.rrule
    parts = [f"FREQ={_UNIT_WORDS[rule.unit]}"]
    parts += [f"INTERVAL={rule.every}"] if rule.every > 1 else []
    parts += [f"UNTIL={rule.until:%Y%m%d}"] if rule.until else []
    parts += [f"COUNT={rule.count}"] if rule.count else []
    return ";".join(parts)


def mark(value: object) -> str:
    """Return a short mark of a field's value, which tells whether it changed; empty for an empty value."""
    if value is None or value in ("", [], ()):
        return ""
    import hashlib  # noqa: PLC0415 - 2 ms, and only for an import

    return hashlib.blake2b(msgspec.json.encode(value), digest_size=8).hexdigest()


def marks(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the marks of all fields that hold something."""
    return {name: found for name, value in fields.items() if (found := mark(value))}


def changes(task: Task, base: Mapping[str, str], fields: Mapping[str, Any], carried: frozenset[str]) -> dict[str, Any]:
    """Return what an import changes of a task: the fields that changed in the file since the last import.

    `base` holds the marks of that last import, `carried` the fields of `Task` that the format can say. A field that
    the file did not change stays as it is here; status and end go together, and so do two days that would cross.
    """
    fresh = {name for name in fields if name in carried and mark(fields[name]) != base.get(name, "")}
    for pair in _PAIRED:
        if fresh.intersection(pair):
            fresh.update(name for name in pair if name in fields)
    changed = {name: fields[name] for name in fields if name in fresh}
    due, wait = changed.get("due", task.due), changed.get("wait_until", task.wait_until)
    if due and wait and due < wait:
        changed |= {name: fields[name] for name in ("due", "wait_until")}
    return changed


def origin(foreign: ForeignTask, task: Task, result: Taken, *, hours: bool, room: int = ORIGIN_LIMIT) -> Origin:
    """Return what is kept of a foreign record beside a task that has its fields; links are for the caller to add.

    `task` has the fields as the file says them. Where all would be over `room` bytes, the largest of the fields that
    planning does not know are left out, and named.
    """
    here = said(task, hours=hours)
    there = {name: getattr(foreign, name) for name in MEANING_FIELDS if name not in {"id", "links"}}
    read = {name: value for name, value in there.items() if name not in here or here[name] != value}
    if foreign.project is None:
        del read["project"]
    kept = Origin(
        format=foreign.format,
        id=foreign.id,
        unknown=foreign.unknown,
        original=foreign.original,
        fields=foreign.fields,
        read=read,
        base=marks(result.fields),
        links=foreign.links,
    )
    return _fitted(kept, room)


def _fitted(kept: Origin, room: int) -> Origin:
    sizes = {
        (part, name): len(msgspec.json.encode(value))
        for part in ("unknown", "original")
        for name, value in getattr(kept, part).items()
    }
    size = len(msgspec.json.encode(kept))
    left_out: list[str] = []
    for part, name in sorted(sizes, key=lambda each: sizes[each], reverse=True):
        if size <= room:
            break
        rest = {other: value for other, value in getattr(kept, part).items() if other != name}
        kept = replace(kept, **{part: rest})
        size -= sizes[part, name]
        left_out.append(name)
    return replace(kept, left_out=tuple(left_out)) if left_out else kept


def to_meta(kept: Origin) -> dict[str, Any]:
    """Return an origin as it stands in `meta.source`, lists for tuples, so that it compares with what was read."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(kept))
    return plain


def from_meta(task: Task) -> Origin | None:
    """Return the origin of a task, or None for one that was made here; a damaged one counts as none."""
    try:
        return msgspec.convert(task.meta["source"], Origin)
    except (KeyError, msgspec.ValidationError):
        return None


def foreign_of(task: Task, id: str, *, hours: bool, project: str | None) -> ForeignTask:
    """Return a task in the words of `ForeignTask`, under that id and without links.

    A record that came from another tool says again what was read, except where it was changed here. `project` is the
    name of its project, said for tasks made here and for those that were moved to another project.
    """
    kept = from_meta(task)
    values: dict[str, Any] = said(task, hours=hours)
    if kept is None:
        return ForeignTask(id=id, updated_at=task.updated_at, project=project, **values)
    changed = {name for name in WORDS.values() if mark(getattr(task, name)) != kept.base.get(name, "")}
    read = msgspec.convert({"id": "", "title": "", **kept.read}, ForeignTask)
    for name in kept.read:
        if name not in WORDS or WORDS[name] not in changed:
            values[name] = getattr(read, name)
    if changed:
        values["updated_at"] = task.updated_at
    if mark(task.project) == kept.base.get("project", ""):
        values["project"] = read.project
    else:
        values["project"] = project
    return ForeignTask(
        **values,
        id=id,
        format=kept.format,
        unknown=kept.unknown,
        original=kept.original,
        fields=kept.fields,
    )


def source_of(format: str, id: str, project: str) -> str:
    """Return the text by which a task is found again as the foreign record `id`; `project` is an id.

    An id that names no place (a bare issue number, a line of a file) says which record it is within a project only.
    """
    here = format == "markdown" or (format == "github" and id.isdigit())
    text = f"{format}:{project}:{id}" if here else f"{format}:{id}"
    if len(text) <= _LONGEST_SOURCE:
        return text
    import hashlib  # noqa: PLC0415 - 2 ms, and only for an import

    return f"{format}:{hashlib.sha256(text.encode()).hexdigest()}"


def carried_fields(names: Sequence[str] | frozenset[str]) -> frozenset[str]:
    """Return the fields of `Task` that a format says, from the fields of `ForeignTask` that it carries."""
    found = {WORDS[name] for name in names if name in WORDS}
    return frozenset(found | {"completed_at"} if "status" in found else found)


def today(now: str) -> date:
    """Return the day that an instant is here."""
    return parse_instant(now).astimezone().date()
