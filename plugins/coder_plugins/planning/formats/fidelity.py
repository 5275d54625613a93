"""Writing a record back as it was found.

A format gives two pure functions: `decode`, what a record means, and `encode`, how planning would word that meaning.
All fidelity follows from the two:

- reading keeps every unknown field, and the wording of each mapped field that `encode` would have worded otherwise;
- writing keeps an old wording for as long as reading it still means the task as it now is;
- what the format cannot say at all goes into one extension field, as what the format says now (`said`) and what is true
  (`meant`), so that a change made in the other tool is noticed and wins over the extension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from .documents import Row
from .foreign import MEANING_FIELDS, ForeignTask, ImportFault, Parsed
from .reading import Reader, Record

EXTENSION = "coder_local"


def _as_is(value: Any) -> Any:
    return value


class Codec(Struct, frozen=True, kw_only=True):
    """How one format words a record.

    `known` holds the names of all fields that `decode` reads and `encode` may write; every other one is kept verbatim.
    `pack` and `unpack` turn the extension object into a value of the format and back.
    """

    name: str
    known: frozenset[str]
    decode: Callable[[Reader], ForeignTask]
    encode: Callable[[ForeignTask], Record]
    extension: str = EXTENSION
    pack: Callable[[Record], Any] = _as_is
    unpack: Callable[[Any], Any] = _as_is


def parsed(codec: Codec, rows: Iterable[Row], faults: list[ImportFault]) -> Parsed:
    """Read all rows; add the faults of each, and of ids used twice, to `faults`."""
    tasks: list[ForeignTask] = []
    seen: dict[str, int] = {}
    for row in rows:
        reader = Reader(row.record, line=row.line, pointer=row.pointer)
        task = read(codec, reader)
        if task.id and task.id in seen:
            hint = "give one of the two an id of its own, or remove it"
            reader.fault("id", f"the id {task.id} was used before, on line {seen[task.id]}", hint)
        seen.setdefault(task.id, row.line)
        faults.extend(reader.faults)
        if not reader.faults:
            tasks.append(task)
    return Parsed(tasks, sorted(faults, key=lambda fault: fault.line))


def read(codec: Codec, reader: Reader) -> ForeignTask:
    """Read one record with all that is needed to write it back as it is."""
    record, task = reader.record, _meaning(codec, reader)
    if reader.faults:
        return task
    kept = replace(task, format=codec.name, fields=tuple(record))
    again = codec.encode(kept)
    known = {name: value for name, value in record.items() if name in codec.known}
    return replace(
        kept,
        unknown={name: value for name, value in record.items() if name not in codec.known | {codec.extension}},
        original={name: value for name, value in known.items() if again.get(name, UNSET) != value},
    )


def write(codec: Codec, task: ForeignTask) -> Record:
    """Word one task as a record of the format, as it was found where nothing changed."""
    if task.format != codec.name:
        task = replace(task, unknown={}, original={}, fields=())
    fresh = {**task.unknown, **codec.encode(task)}
    goal = codec.decode(Reader(fresh))
    record = _restored(codec, task, fresh, goal)
    gap = _gap(task, goal)
    if gap:
        record[codec.extension] = codec.pack(gap)
    order = {name: place for place, name in enumerate(task.fields)}
    return dict(sorted(record.items(), key=lambda field: order.get(field[0], len(order))))


def _restored(codec: Codec, task: ForeignTask, fresh: Record, goal: ForeignTask) -> Record:
    """Put back each old wording, and leave out what the source left out, where the meaning stays the goal."""

    def means_goal(record: Record) -> bool:
        reader = Reader(record)
        return _view(codec.decode(reader)) == _view(goal) and not reader.faults

    added = [name for name in fresh if name not in task.fields] if task.fields else []
    whole = {name: value for name, value in {**fresh, **task.original}.items() if name not in added}
    if means_goal(whole):
        return whole
    record = fresh
    for name, value in task.original.items():
        trial = {**record, name: value}
        record = trial if means_goal(trial) else record
    for name in added:
        trial = {other: value for other, value in record.items() if other != name}
        record = trial if means_goal(trial) else record
    return record


def _view(task: ForeignTask) -> list[Any]:
    """Return the meaning alone; the order of links and tags carries none."""
    values = {name: getattr(task, name) for name in MEANING_FIELDS}
    return list({**values, "links": sorted(set(task.links)), "tags": sorted(task.tags)}.values())


def _gap(task: ForeignTask, goal: ForeignTask) -> Record:
    """Return what the format, saying `goal`, leaves unsaid of the task."""
    gap: Record = {}
    for name in MEANING_FIELDS:
        said, meant = getattr(goal, name), getattr(task, name)
        if name == "links":
            wrong = [link for link in said if link not in meant]
            missing = [link for link in meant if link not in said]
            if wrong or missing:
                gap[name] = {"said": _plain(wrong), "meant": _plain(missing)}
        elif said != meant:
            gap[name] = {"said": _plain(said), "meant": _plain(meant)}
    return gap


def _plain(value: object) -> Any:
    """Return a value as JSON reads it, lists for tuples, so that it compares with what was read."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _meaning(codec: Codec, reader: Reader) -> ForeignTask:
    task = codec.decode(reader)
    packed = reader.record.get(codec.extension)
    if packed is None:
        return task
    try:
        return _completed(task, msgspec.convert(codec.unpack(packed), dict[str, Any]))
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        hint = "remove the field: only what this format cannot say itself is lost"
        reader.fault(codec.extension, f"{codec.extension} was damaged: {error}", hint)
        return task


def _completed(task: ForeignTask, gap: Record) -> ForeignTask:
    values: Record = _plain(task)
    spoken = {name: _plain(getattr(task, name)) for name in MEANING_FIELDS}
    for name, part in gap.items():
        if name == "links":
            values[name] = [link for link in spoken[name] if link not in part["said"]] + part["meant"]
        elif name in spoken and spoken[name] == part["said"]:
            values[name] = part["meant"]
    return msgspec.convert(values, ForeignTask)


def written(codec: Codec, tasks: Sequence[ForeignTask]) -> list[Record]:
    """Word all tasks, in their order."""
    return [write(codec, task) for task in tasks]
