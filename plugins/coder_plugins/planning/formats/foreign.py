"""What every task format is read into and written from.

A `ForeignTask` is one record of another tool, said in the words of planning, with everything that planning has no
word for kept beside it, so that a record that nobody changed is written back as it was found.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Status = Literal["backlog", "todo", "doing", "review", "done", "dropped"]
Priority = Literal["none", "low", "medium", "high", "urgent"]
LinkKind = Literal["blocks", "parent", "relates", "duplicates", "discovered_from", "caused_by", "fixes", "implements"]

CLOSED: frozenset[Status] = frozenset({"done", "dropped"})
TITLE_LIMIT = 300


class ForeignLink(Struct, frozen=True, order=True):
    """One link, held by the task that states it.

    Read it `<this task> <kind> <target>`, and with `inward` the other way round, `<target> <kind> <this task>`:

    | kind | not inward | inward |
    |---|---|---|
    | `blocks` | this task blocks the target | the target blocks this task (it waits for the target) |
    | `parent` | this task's parent is the target | the target's parent is this task |
    | `relates` | the two belong together | not used: it has no direction |
    | `duplicates` | this task is a duplicate of the target | the target is a duplicate of this task |
    | `discovered_from` | this task was found while working on the target | the target was found here |
    | `caused_by`, `fixes`, `implements` | this task fixes ... the target | the target fixes ... this task |

    A link is stated once, at either end; renderers move it to the end where their format can say it.
    """

    kind: LinkKind
    target: str
    inward: bool = False


class CheckItem(Struct, frozen=True):
    """One line of a task's checklist."""

    text: str
    done: bool = False


class ForeignTask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task as another tool keeps it.

    Instants (`created_at`, `updated_at`, `closed_at`) are RFC 3339, UTC, milliseconds, `Z`. `due` and `wait_until` are
    one of: a date `2026-11-02`, an instant `2026-11-02T08:00:00.000Z`, a wall time with its zone
    `2026-11-02T09:00:00[Europe/Berlin]`, or, where the source names no zone, a bare wall time `2026-11-02T09:00:00`.
    `recurrence` is the text of an RFC 5545 RRULE without its name.

    The last four fields carry the source: `format` names it, `unknown` holds the fields that have no word here,
    `original` the wording of mapped fields where the mapping loses something, `fields` the order of the source's
    fields. A renderer of another format ignores them.
    """

    id: str
    title: str
    status: Status = "todo"
    priority: Priority = "none"
    kind: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    closed_at: str | None = None
    due: str | None = None
    wait_until: str | None = None
    estimate_minutes: int | None = None
    tags: tuple[str, ...] = ()
    assignee: str | None = None
    description: str = ""
    checklist: tuple[CheckItem, ...] = ()
    recurrence: str | None = None
    links: tuple[ForeignLink, ...] = ()
    project: str | None = None
    format: str = ""
    unknown: dict[str, Any] = {}
    original: dict[str, Any] = {}
    fields: tuple[str, ...] = ()


SOURCE_FIELDS = frozenset({"format", "unknown", "original", "fields"})
MEANING_FIELDS = tuple(name for name in ForeignTask.__struct_fields__ if name not in SOURCE_FIELDS)


class ImportFault(Struct, frozen=True):
    """One thing in the text that cannot be read: where it is, what is wrong, and the cure.

    `line` counts from 1; `pointer` is a JSON pointer inside the text or the line, `""` for the whole of it.
    """

    line: int
    pointer: str
    message: str
    hint: str


class Parsed(Struct, frozen=True):
    """All that could be read, in the order of the text, and every fault; a record with a fault is no task."""

    tasks: list[ForeignTask]
    faults: list[ImportFault]
