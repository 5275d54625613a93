"""Taskwarrior 2.x and 3.x: the JSON of `task export`.

`depends` names the tasks this one waits for; `start` on a pending task means it is worked on. Annotations are read as
the description, one line each. `scheduled`, `until`, `mask`, `parent` (of a recurring task), user-defined attributes
and the like are kept as they are. An id that is no UUID is written as one derived from it, with the true one beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from .documents import json_rows
from .fidelity import Codec, parsed, written
from .foreign import CLOSED, ForeignLink, ForeignTask, ImportFault, LinkKind, Parsed, Priority, Status
from .links import settled
from .moments import as_instant, from_compact, to_compact
from .reading import Reader, Record, as_list, shown

_STATUSES: dict[str, Status] = {
    "pending": "todo",
    "waiting": "todo",
    "recurring": "todo",
    "completed": "done",
    "deleted": "dropped",
}
_PRIORITIES: dict[str, Priority] = {"H": "high", "M": "medium", "L": "low"}
_PRIORITY_WORDS: dict[Priority, str] = {"urgent": "H", "high": "H", "medium": "M", "low": "L"}
_SAYABLE: frozenset[tuple[LinkKind, bool]] = frozenset({("blocks", True)})
_NAMESPACE = UUID("6f1c3b0e-54d1-5f0a-9a3b-0d6d0e7b7a11")

_RECURRENCES = {
    "daily": "FREQ=DAILY",
    "weekdays": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    "weekly": "FREQ=WEEKLY",
    "biweekly": "FREQ=WEEKLY;INTERVAL=2",
    "monthly": "FREQ=MONTHLY",
    "bimonthly": "FREQ=MONTHLY;INTERVAL=2",
    "quarterly": "FREQ=MONTHLY;INTERVAL=3",
    "semiannual": "FREQ=MONTHLY;INTERVAL=6",
    "yearly": "FREQ=YEARLY",
    "biyearly": "FREQ=YEARLY;INTERVAL=2",
}
_RECURRENCE_WORDS = {rule: word for word, rule in _RECURRENCES.items()}
_SYNONYMS = {
    "day": "daily",
    "week": "weekly",
    "month": "monthly",
    "year": "yearly",
    "annual": "yearly",
    "fortnight": "biweekly",
} | {
    "sennight": "weekly",
    "biannual": "biyearly",
}
_PERIOD = re.compile(
    r"(?:P(\d+)([DWMY])|(\d+)\s*(d|days?|w|wks?|weeks?|mo|mos|months?|m|q|qtrs?|quarters?|y|yrs?|years?))"
)
_UNITS = {"d": ("DAILY", 1), "w": ("WEEKLY", 1), "m": ("MONTHLY", 1), "q": ("MONTHLY", 3), "y": ("YEARLY", 1)}
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_RULE = re.compile(r"FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(?:;INTERVAL=(\d+))?")


def _recurrence(period: str) -> str | None:
    """Return the RRULE of a Taskwarrior period (`weekly`, `2wks`, `P1M`), or None for one without such a rule."""
    word = _SYNONYMS.get(period, period)
    if word in _RECURRENCES:
        return _RECURRENCES[word]
    match = _PERIOD.fullmatch(period)
    if match is None:
        return None
    frequency, months = _UNITS[(match[2] or match[4]).lower()[0]]
    every = int(match[1] or match[3]) * months
    if every == 0:
        return None
    return f"FREQ={frequency}" if every == 1 else f"FREQ={frequency};INTERVAL={every}"


def _period(rule: str) -> str | None:
    """Return the Taskwarrior period of an RRULE, or None for a rule that has none."""
    if rule in _RECURRENCE_WORDS:
        return _RECURRENCE_WORDS[rule]
    match = _RULE.fullmatch(rule)
    return f"P{int(match[2] or 1)}{match[1][0]}" if match else None


def _depends(reader: Reader) -> tuple[ForeignLink, ...]:
    value = reader.record.get("depends")
    if isinstance(value, str):
        ids = tuple(part.strip() for part in value.split(",") if part.strip())
    else:
        ids = reader.texts("depends")
    return tuple(dict.fromkeys(ForeignLink("blocks", target, inward=True) for target in ids))


def _annotations(reader: Reader) -> str:
    lines: list[str] = []
    for index, note in enumerate(reader.objects("annotations")):
        text = note.get("description")
        if isinstance(text, str):
            lines.append(text)
        else:
            hint = 'write {"entry": "20261102T090000Z", "description": "text"}'
            reader.fault("annotations", f"the annotation {shown(note)} has no description", hint, index=index)
    return "\n".join(lines)


def _status(reader: Reader) -> Status:
    word = reader.text("status") or "pending"
    if word not in _STATUSES:
        reader.fault("status", f"status is {shown(word)}", f"write one of {', '.join(_STATUSES)}")
        return "todo"
    status = _STATUSES[word]
    started = reader.moment("start", from_compact) is not None
    return "doing" if started and status not in CLOSED else status


def _decode(reader: Reader) -> ForeignTask:
    return ForeignTask(
        id=reader.identity("uuid"),
        title=reader.title("description"),
        status=_status(reader),
        priority=_PRIORITIES.get(reader.text("priority") or "", "none"),
        created_at=reader.moment("entry", from_compact),
        updated_at=reader.moment("modified", from_compact),
        closed_at=reader.moment("end", from_compact),
        due=reader.moment("due", from_compact),
        wait_until=reader.moment("wait", from_compact),
        tags=reader.texts("tags"),
        description=_annotations(reader),
        recurrence=_recurrence(reader.text("recur") or ""),
        links=_depends(reader),
        project=reader.text("project"),
    )


def _uuid(id: str, worded: object = ()) -> str:
    """Return the id itself where it is a UUID, or where the source worded it so, else a UUID made from it."""
    if _UUID.fullmatch(id) or (isinstance(worded, list | str) and id in worded):
        return id
    return str(uuid5(_NAMESPACE, id))


def _compact(moment: str | None) -> str | None:
    instant = moment and as_instant(moment)
    return to_compact(instant) if instant else None


def _encode(task: ForeignTask) -> Record:
    touched = _compact(task.updated_at or task.created_at)
    recur = task.recurrence and _period(task.recurrence)
    if task.status in CLOSED:
        word = "completed" if task.status == "done" else "deleted"
    else:
        word = "recurring" if recur else "pending"
    fields: Record = {
        "uuid": _uuid(task.id, [task.original.get("uuid")]),
        "description": task.title,
        "status": word,
        "entry": _compact(task.created_at),
        "modified": _compact(task.updated_at),
        "start": touched if task.status == "doing" else None,
        "end": _compact(task.closed_at),
        "due": _compact(task.due),
        "wait": _compact(task.wait_until),
        "recur": recur,
        "priority": _PRIORITY_WORDS.get(task.priority),
        "project": task.project,
        "tags": list(task.tags) or None,
        "depends": _depended(task) or None,
        "annotations": _notes(task, touched) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _depended(task: ForeignTask) -> list[str]:
    worded = task.original.get("depends")
    return [_uuid(link.target, worded) for link in task.links if (link.kind, link.inward) in _SAYABLE]


def _notes(task: ForeignTask, touched: str | None) -> list[Record]:
    """Return one annotation a line; a line that the source had keeps the time it was entered."""
    old: dict[str, Record] = {note["description"]: note for note in as_list(task.original.get("annotations"))}
    lines = [line for line in task.description.split("\n") if line.strip()]
    entry: Record = {"entry": touched} if touched else {}
    return [old.get(line) or {**entry, "description": line} for line in lines]


# fmt: off
_KNOWN = frozenset({
    "uuid", "description", "status", "entry", "modified", "start", "end", "due", "wait", "recur", "priority",
    "project", "tags", "depends", "annotations",
})
# fmt: on
_CODEC = Codec(
    name="taskwarrior",
    known=_KNOWN,
    decode=_decode,
    encode=_encode,
    # Taskwarrior keeps attributes it does not know as texts only
    pack=lambda gap: msgspec.json.encode(gap).decode(),
    unpack=msgspec.json.decode,
)


def parse(text: str, *, source: str = "") -> Parsed:  # noqa: ARG001 - every format takes it, ids here need none
    """Read the output of `task export`, as an array or one object a line."""
    faults: list[ImportFault] = []
    return parsed(_CODEC, json_rows(text, faults), faults)


def render(tasks: Sequence[ForeignTask]) -> str:
    """Write what `task import` reads: an array with one task a line."""
    records = written(_CODEC, settled(tasks, _SAYABLE))
    return "[\n" + ",\n".join(msgspec.json.encode(record).decode() for record in records) + "\n]\n"
