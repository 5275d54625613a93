"""Operations as data: what the decorators of a `Domain` collect and every door is derived from."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple

from .records import Event, Record, Value


class Kind(StrEnum):
    """What an operation is, hence where it runs and what it may do."""

    QUERY = "query"
    COMMAND = "command"
    ACTION = "action"
    STREAM = "stream"


class Safety(StrEnum):
    """The one word on an operation's danger; it drives confirmation, MCP hints, scopes and the audit line."""

    READ = "read"
    """Changes nothing."""
    WRITE = "write"
    """Changes local records, and can be undone."""
    DESTRUCTIVE = "destructive"
    """Loses something that undo cannot bring back, or touches files or processes."""
    EXTERNAL = "external"
    """Leaves the machine, or spends money."""


class StandardOperation(NamedTuple):
    """One of the operations that `Domain.standard` declares for a record; the registry writes its function."""

    verb: str
    record: type[Record]
    filters: tuple[str, ...]
    sort: tuple[str, ...]
    search: tuple[str, ...]
    references: tuple[tuple[str, type[Record] | tuple[type[Record], ...]], ...] = ()
    """Filters that name another record, with that record: its id or its human key is taken."""


class Operation(NamedTuple):
    """One thing that may be asked."""

    name: str
    """The full wire name, `notes.create`."""
    kind: Kind
    safety: Safety
    function: Callable[..., Any] | None
    """The plugin's function; None for a standard operation."""
    emits: tuple[type[Event], ...] = ()
    deadline: float = 10.0
    """Seconds until it is interrupted."""
    person_only: bool = False
    """Refused to agents, whatever their grant."""
    quick: bool = False
    """A query whose cost is bounded (a look-up by key): it may be answered without leaving the event loop."""
    standard: StandardOperation | None = None

    @property
    def mutates(self) -> bool:
        """Whether it takes `if_rev` and `idempotency_key`."""
        return self.kind is Kind.COMMAND


class Index(Value):
    """An index of some of a table's records, for look-ups that ask for just those: the rest costs no writing.

    Give it among the `indexes` of `Domain.table`; a tuple of field names there is an index of all records.
    """

    fields: tuple[str, ...]
    """In the order in which they are asked; one that is asked from the highest down is followed by ` DESC`."""
    where: LiteralString = ""
    """Which records, as SQL over the table's columns. A look-up must hold the same words, or it does not use it."""
    name: LiteralString = ""
    """A short word for it, where its fields would make a long one."""


class TableDeclaration(NamedTuple):
    """A record and how it is kept."""

    record: type[Record]
    path: str
    """Wire path of its standard operations, `notes.tags`."""
    sql_name: str
    """Name of its table, `notes_tags`."""
    word: str
    """The record's word in event types, `tag`."""
    unique: tuple[tuple[str, ...], ...]
    indexes: tuple[Index, ...]
    read_only: frozenset[str]
    """Fields that only the plugin's own functions write; standard create and update do not take them."""
    key: str | None = None
    """The field that people call the record by, unique in its workspace; taken wherever its id is."""
    history: bool = True
    """Whether each write leaves a change row and says an event; without it there is no undo."""


class Listener(NamedTuple):
    """A function that is called for each event of some types."""

    name: str
    """`<domain>.<function>`: under this its place in the log is kept."""
    types: tuple[str, ...]
    function: Callable[..., None]


Rule = Callable[[Any, Any, Any], None]
"""`rule(tx, before, after)`; raises if the record must not become `after`. `before` is None for a new record."""
