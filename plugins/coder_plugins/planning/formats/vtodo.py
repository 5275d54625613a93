"""iCalendar VTODO (RFC 5545), with the relations of RFC 9253.

`RELTYPE=DEPENDS-ON` names what the task waits for, `PARENT` (the default) and `CHILD` the hierarchy, `SIBLING` is read
as `relates`; other link kinds are written as `X-BLOCKS`, `X-FIXES` and so on. Relations that only order time
(`FINISHTOSTART`, ...) are kept but make no link. `DUE` and `DTSTART` with a zone stay wall times. One moved instance of
a recurring task has the id `UID#instance`. Other components, and the properties of the calendar itself, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from .contentlines import ContentLine, content_line, escaped_text, folded, text_list, todos, unescaped
from .fidelity import Codec, parsed, written
from .foreign import CLOSED, ForeignLink, ForeignTask, ImportFault, LinkKind, Parsed, Priority, Status
from .links import settled
from .moments import from_compact, is_date, to_compact, zoned
from .reading import Reader, Record

_STATUSES: dict[str, Status] = {
    "NEEDS-ACTION": "todo",
    "IN-PROCESS": "doing",
    "COMPLETED": "done",
    "CANCELLED": "dropped",
}
_STATUS_WORDS: dict[Status, str] = {
    "backlog": "NEEDS-ACTION",
    "todo": "NEEDS-ACTION",
    "doing": "IN-PROCESS",
    "review": "IN-PROCESS",
    "done": "COMPLETED",
    "dropped": "CANCELLED",
}
_PRIORITIES: tuple[Priority, ...] = ("none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low")
_PRIORITY_WORDS: dict[Priority, str] = {"urgent": "1", "high": "3", "medium": "5", "low": "9"}
_RELATIONS: dict[str, tuple[LinkKind, bool]] = {
    "PARENT": ("parent", False),
    "CHILD": ("parent", True),
    "SIBLING": ("relates", False),
    "DEPENDS-ON": ("blocks", True),
    "X-DUPLICATES": ("duplicates", False),
    "X-DISCOVERED-FROM": ("discovered_from", False),
    "X-CAUSED-BY": ("caused_by", False),
    "X-FIXES": ("fixes", False),
    "X-IMPLEMENTS": ("implements", False),
}
_SAYABLE = frozenset(_RELATIONS.values())
_READABLE: dict[str, tuple[LinkKind, bool]] = {**_RELATIONS, "X-BLOCKS": ("blocks", False)}
_RELATION_WORDS = {said: word for word, said in _READABLE.items()}
_LOCAL = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d))?", re.ASCII)
_EPOCH = "19700101T000000Z"


def _line(reader: Reader, name: str) -> ContentLine | None:
    lines: list[str] = reader.record.get(name) or []
    if len(lines) > 1:
        reader.fault(name, f"{name} is there {len(lines)} times", "keep one of them")
    return content_line(lines[0]) if lines else None


def _text(reader: Reader, name: str) -> str:
    line = _line(reader, name)
    return unescaped(line.value) if line else ""


def _instant(reader: Reader, name: str) -> str | None:
    line = _line(reader, name)
    if line is None:
        return None
    try:
        return from_compact(line.value)
    except ValueError:
        hint = "write it in UTC, for example 20261102T090000Z"
        reader.fault(name, f"{name} is {line.value!r}, which is no instant", hint)
        return None


def _moment(reader: Reader, name: str) -> str | None:
    """Return a date, an instant, or a wall time with the zone that the property names."""
    line = _line(reader, name)
    if line is None:
        return None
    if line.value.endswith("Z"):
        return _instant(reader, name)
    match = _LOCAL.fullmatch(line.value)
    day = match and f"{match[1]}-{match[2]}-{match[3]}"
    if match is None or not _exists(f"{day}T{match[4] or '00'}:{match[5] or '00'}:{match[6] or '00'}"):
        hint = "write a day such as 20261102 or a time such as 20261102T090000Z"
        reader.fault(name, f"{name} is {line.value!r}, which is no day or time", hint)
        return None
    if match[4] is None:
        return day
    wall = f"{day}T{match[4]}:{match[5]}:{match[6]}"
    if "TZID" not in line.parameters:
        return wall
    zone = _zone(line.parameters["TZID"])
    if zone is None:
        hint = "name a zone of the IANA list, for example Europe/Berlin"
        reader.fault(name, f"{name} is in the time zone {line.parameters['TZID']!r}, which nobody knows", hint)
        return None
    return f"{wall}[{zone}]"


def _exists(wall: str) -> bool:
    try:
        return bool(datetime.fromisoformat(wall))
    except ValueError:
        return False


def _zone(name: str) -> str | None:
    """Return the IANA zone of a TZID: the zone itself, one behind a vendor's prefix, or the one Windows calls so."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - zone tables are read for tasks with a zone only

    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON  # noqa: PLC0415 - heavy, needed here only

    parts = name.strip("/").split("/")
    for guess in (name, "/".join(parts[-2:]), "/".join(parts[-3:]), WINDOWS_TO_OLSON.get(name, "")):
        try:
            return ZoneInfo(guess).key
        except (ValueError, OSError, KeyError):
            continue
    return None


def _recurrence(reader: Reader) -> str | None:
    line = _line(reader, "RRULE")
    if line is None:
        return None
    from icalendar import vRecur  # noqa: PLC0415 - heavy, needed for recurring tasks only

    try:
        if "FREQ" not in vRecur.from_ical(line.value):
            raise ValueError("FREQ is missing")
    except ValueError as error:
        reader.fault("RRULE", f"RRULE {line.value!r} is no rule: {error}", "write it like FREQ=WEEKLY;BYDAY=MO")
        return None
    return line.value


def _priority(reader: Reader) -> Priority:
    line = _line(reader, "PRIORITY")
    if line is None:
        return "none"
    if re.fullmatch(r"[0-9]", line.value.strip(), re.ASCII):
        return _PRIORITIES[int(line.value)]
    reader.fault(
        "PRIORITY", f"PRIORITY is {line.value!r}", "write a digit: 1 is the most urgent, 9 the least, 0 is none"
    )
    return "none"


def _status(reader: Reader) -> Status:
    line = _line(reader, "STATUS")
    if line is None:
        return "done" if "COMPLETED" in reader.record else "todo"
    word = line.value.strip().upper()
    if word not in _STATUSES:
        reader.fault("STATUS", f"STATUS is {line.value!r}", f"write one of {', '.join(_STATUSES)}")
    return _STATUSES.get(word, "todo")


def _link(line: str) -> ForeignLink | None:
    entry = content_line(line)
    said = _READABLE.get(entry.parameters.get("RELTYPE", "PARENT").upper())
    target = unescaped(entry.value)
    return ForeignLink(said[0], target, inward=said[1]) if said and target else None


def _decode(reader: Reader) -> ForeignTask:
    # the rules for ids and titles are those of every format, so they are checked on the texts
    texts = Reader({name: _text(reader, name) for name in ("UID", "SUMMARY")}, line=reader.line, pointer=reader.pointer)
    uid, title = texts.identity("UID"), texts.title("SUMMARY")
    reader.faults.extend(texts.faults)
    instance = _line(reader, "RECURRENCE-ID")
    links = [_link(line) for line in reader.record.get("RELATED-TO", ())]
    tags = [tag for line in reader.record.get("CATEGORIES", ()) for tag in text_list(content_line(line).value)]
    return ForeignTask(
        id=f"{uid}#{instance.value}" if instance else uid,
        title=title,
        status=_status(reader),
        priority=_priority(reader),
        created_at=_instant(reader, "CREATED"),
        updated_at=_instant(reader, "LAST-MODIFIED"),
        closed_at=_instant(reader, "COMPLETED"),
        due=_moment(reader, "DUE"),
        wait_until=_moment(reader, "DTSTART"),
        tags=tuple(dict.fromkeys(tags)),
        description=_text(reader, "DESCRIPTION"),
        recurrence=_recurrence(reader),
        links=tuple(dict.fromkeys(link for link in links if link)),
    )


def _timed(name: str, moment: str | None) -> list[str]:
    if moment is None:
        return []
    with_zone = zoned(moment)
    if with_zone:
        return [f"{name};TZID={with_zone[1]}:{to_compact(with_zone[0])[:-1]}"]
    if is_date(moment):
        return [f"{name};VALUE=DATE:{moment.replace('-', '')}"]
    return [f"{name}:{to_compact(moment) if moment.endswith('Z') else to_compact(moment)[:-1]}"]


def _encode(task: ForeignTask) -> Record:
    # only an instance of a recurring task carries the instance in its id
    uid = task.id.rpartition("#")[0] if "RECURRENCE-ID" in task.unknown or "RECURRENCE-ID" in task.fields else task.id
    touched = task.updated_at or task.created_at
    fields = {
        "UID": [f"UID:{escaped_text(uid)}"],
        "DTSTAMP": [f"DTSTAMP:{to_compact(touched) if touched else _EPOCH}"],
        "SUMMARY": [f"SUMMARY:{escaped_text(task.title)}"],
        "DESCRIPTION": [f"DESCRIPTION:{escaped_text(task.description)}"] if task.description else [],
        "STATUS": [f"STATUS:{_STATUS_WORDS[task.status]}"],
        "PRIORITY": [f"PRIORITY:{_PRIORITY_WORDS[task.priority]}"] if task.priority != "none" else [],
        "CREATED": _timed("CREATED", task.created_at),
        "LAST-MODIFIED": _timed("LAST-MODIFIED", task.updated_at),
        "COMPLETED": _timed("COMPLETED", task.closed_at if task.status in CLOSED else None),
        "DTSTART": _timed("DTSTART", task.wait_until),
        "DUE": _timed("DUE", task.due),
        "RRULE": [f"RRULE:{task.recurrence}"] if task.recurrence else [],
        "CATEGORIES": [f"CATEGORIES:{','.join(map(escaped_text, task.tags))}"] if task.tags else [],
        "RELATED-TO": _relations(task),
    }
    return {name: lines for name, lines in fields.items() if lines}


def _relations(task: ForeignTask) -> list[str]:
    """Return the relations of the source that still hold, as they were, then those of links that are new."""
    kept = [line for line in task.original.get("RELATED-TO", ()) if (link := _link(line)) is None or link in task.links]
    said = {_link(line) for line in kept}
    new = [link for link in task.links if link not in said]
    return kept + [
        f"RELATED-TO;RELTYPE={_RELATION_WORDS.get((link.kind, link.inward), '')}:{escaped_text(link.target)}"
        for link in new
        if (link.kind, link.inward) in _RELATION_WORDS
    ]


def _packed(gap: Record) -> list[str]:
    return [f"X-CODER-LOCAL:{escaped_text(msgspec.json.encode(gap).decode())}"]


def _unpacked(lines: Any) -> Any:
    return msgspec.json.decode(unescaped(content_line(lines[0]).value))


# fmt: off
_KNOWN = frozenset({
    "UID", "DTSTAMP", "SUMMARY", "DESCRIPTION", "STATUS", "PRIORITY", "CREATED", "LAST-MODIFIED", "COMPLETED",
    "DTSTART", "DUE", "RRULE", "CATEGORIES", "RELATED-TO",
})
# fmt: on
_CODEC = Codec(
    name="vtodo",
    known=_KNOWN,
    decode=_decode,
    encode=_encode,
    extension="X-CODER-LOCAL",
    pack=_packed,
    unpack=_unpacked,
)


def parse(text: str, *, source: str = "") -> Parsed:  # noqa: ARG001 - every format takes it, ids here need none
    """Read the VTODO components of an iCalendar text."""
    faults: list[ImportFault] = []
    return parsed(_CODEC, todos(text, faults), faults)


def render(tasks: Sequence[ForeignTask]) -> str:
    """Write one calendar, lines folded and ended as RFC 5545 asks, with the time zones that the tasks name."""
    records = written(_CODEC, settled(tasks, _SAYABLE))
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//coder-local//planning//EN", *_zones(records)]
    for record in records:
        lines += ["BEGIN:VTODO", *_flat(record), "END:VTODO"]
    lines.append("END:VCALENDAR")
    return "".join(f"{folded(line)}\r\n" for line in lines)


def _flat(record: Record) -> list[str]:
    lines: list[str] = []
    for part in record.values():
        for entry in part:
            lines += [entry] if isinstance(entry, str) else entry
    return lines


def _zones(records: Sequence[Record]) -> list[str]:
    """Return the VTIMEZONE components of all zones that the lines name."""
    names = {
        zone for record in records for line in _flat(record) if (zone := content_line(line).parameters.get("TZID"))
    }
    if not names:
        return []
    from icalendar import Timezone  # noqa: PLC0415 - heavy, needed for tasks with a zone only

    lines: list[str] = []
    for name in sorted(names):
        zone = _zone(name)
        if zone is None:
            continue
        component = Timezone.from_tzid(zone)
        component["TZID"] = name
        lines += [line for line in component.to_ical().decode().replace("\r\n ", "").split("\r\n") if line]
    return lines
