"""Records (what is kept), events (what is said) and settings, as typed msgspec Structs."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from .values import Instant


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class _RecordMeta(msgspec.StructMeta):
    """Gives every subclass `frozen` and `kw_only`, which msgspec does not inherit."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        options.setdefault("frozen", True)
        options.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, **options)


# Said here again for mypy, which does not look for it on a metaclass of a metaclass that says otherwise.
# Said on the class too: mypy takes kw_only from here, pyright from the metaclass.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, kw_only=True, metaclass=_RecordMeta):
    """A typed part of a record or of an answer: immutable, with named fields."""


class Record(Value):
    """The base of everything that is kept. A subclass names its own fields; these come with it.

    Records are immutable: `tx.update(record, field=value)` writes and returns the new one.
    """

    id: str = ""
    """UUIDv7 text, sortable by time; empty until the record is inserted."""
    workspace_id: str = ""
    """The workspace it belongs to; filled with the caller's when empty."""
    created_at: Instant = ""
    updated_at: Instant = ""
    rev: int = 0
    """1 at creation, plus 1 per write."""
    deleted_at: Instant | None = None
    """Tombstone: set by delete, cleared by undo."""
    origin: str = ""
    """Who made it: `user`, `agent:<id>`, `plugin:<name>`, `peer:<id>` or `import:<source>`."""
    meta: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """Free JSON, at most 64 KiB; unknown fields of an import are kept here."""


class Event(Value):
    """The base of what is said. Thin: ids, field names and state words, never values, at most 8 KB.

    Its subject is the field named as the middle word of its type: `notes.note.pinned` is about the id in `note`.
    """


class Settings(Value):
    """The base of a plugin's settings; every field has a default and a docstring."""


R = TypeVar("R", bound=Record)

BASE_FIELDS: tuple[str, ...] = Record.__struct_fields__
"""The fields that every record has; the store keeps all but `meta` itself."""


def replace(value: R, /, **changes: Any) -> R:
    """Return a copy of a record with some fields changed. Writes nothing."""
    return msgspec.structs.replace(value, **changes)


T = TypeVar("T")


class Page(Value, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = None
    """Give it as `cursor` to get the next page; null at the end."""
