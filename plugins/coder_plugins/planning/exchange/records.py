"""What an import and an export answer, and what is kept of a foreign record beside the task."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from coder_local.api import Value
from coder_plugins.planning.formats import ForeignLink
from coder_plugins.planning.links.records import LinkKind

FormatName = Literal["beads", "taskwarrior", "github", "vtodo", "markdown"]
"""beads JSONL, Taskwarrior JSON, GitHub issues JSON, iCalendar VTODO, Markdown checklists."""

MOST_TASKS = 50_000
"""Records of one import."""
MOST_BYTES = 32 * 1024 * 1024
"""Size of a file that is imported."""


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task keeps under `meta.source`: where it comes from, and all it takes to write it back as it was.

    `unknown`, `original` and `fields` are those of `ForeignTask`. `read` holds what the file said where planning's own
    fields say less or otherwise; `base` a mark of each of planning's fields as the last import set it, which tells what
    was changed since, there and here. `links` are all links that the record states, `unmade` those of them without a
    link here, because the other end is missing or they would close a ring. `left_out` names fields of `unknown` and
    `original` that were too large to keep.
    """

    format: str
    id: str
    unknown: dict[str, Any] = {}
    original: dict[str, Any] = {}
    fields: tuple[str, ...] = ()
    read: dict[str, Any] = {}
    base: dict[str, str] = {}
    links: tuple[ForeignLink, ...] = ()
    unmade: tuple[ForeignLink, ...] = ()
    left_out: tuple[str, ...] = ()


class UnresolvedLink(Value):
    """A link whose other end is not here. It is kept, and made when an import brings that end."""

    id: str
    """Id of the record that states it, as the source has it."""
    kind: LinkKind
    target: str
    """Id of the missing record, as the source has it."""


class RefusedLink(Value):
    """A link that was not made, because it would close a ring."""

    id: str
    """Id of the record that states it, as the source has it."""
    kind: LinkKind
    target: str
    cycle: list[str]
    """The ring, its first record again at the end; ids as the source has them, keys of tasks that were here before."""


class LeftOut(Value):
    """Something of a record that a task cannot hold. Unless it says so it is written back all the same on export."""

    id: str
    field: str
    reason: str


class SkippedRecord(Value):
    """A record that was not imported, because of a fault."""

    line: int
    """Line of the file, from 1; 0 where it is not known."""
    id: str
    message: str
    hint: str = ""


class ImportReport(Value):
    """What an import did, or with `dry_run` would do."""

    format: str
    project: str | None
    """Key of the project that new tasks went to; null when there was nothing to bring in."""
    created: int
    updated: int
    unchanged: int
    links: int
    """Links that the source states and that stand here now."""
    links_created: int
    links_deleted: int
    """Links of an earlier import that the source no longer states."""
    unresolved: list[UnresolvedLink] = field(default_factory=list[UnresolvedLink])
    refused_links: list[RefusedLink] = field(default_factory=list[RefusedLink])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    skipped: list[SkippedRecord] = field(default_factory=list[SkippedRecord])
    """Records with faults; only with `skip_faults`, for without it a fault stops the whole import."""
    dry_run: bool = False


class Exported(Value):
    """Tasks in the words of another tool."""

    format: str
    text: str
    count: int
    """How many tasks the text holds."""


class ExportedFile(Value):
    """A file that was written."""

    format: str
    path: str
    count: int
    """How many tasks the file holds."""
    bytes: int
