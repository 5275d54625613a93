"""What a function of a plugin is handed: a read snapshot, a write transaction, or a context for the outside world.

The kind of the function decides: a query gets a `Snapshot`, a command a `Transaction`, an action or a stream a
`Context`. The store implements the first two; plugins only ever see these classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, LiteralString, TypeVar

from .records import Event, Record, Settings
from .values import Instant

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Settings)


class Snapshot(ABC):
    """One consistent view of the database. It sees nothing that is committed after it began."""

    actor: str
    """Who asks: `user`, `agent:<id>`, `plugin:<name>`."""
    workspace: str
    """The workspace of the caller."""

    @abstractmethod
    def now(self) -> Instant:
        """Return the time of this call in UTC; it stands still within one call."""

    @abstractmethod
    def get(self, record: type[R], id: str, /) -> R:
        """Return the record with that id. Raises `NotFound` if there is none or it is deleted."""

    @abstractmethod
    def find(self, record: type[R], id: str, /, *, deleted: bool = False) -> R | None:
        """Return the record with that id or None; a deleted one only with `deleted=True`."""

    @abstractmethod
    def select(
        self,
        record: type[R],
        where: LiteralString = "",
        /,
        *,
        order: LiteralString = "",
        limit: int | None = None,
        deleted: bool = False,
        **values: Any,
    ) -> list[R]:
        """Return the records for which an SQL condition holds, in the order asked for (else by id).

        `where` and `order` are literals of SQL over the record's own columns; values come by name (`:name`). A list
        value is bound as JSON: `id IN (SELECT value FROM json_each(:ids))`.
        """

    @abstractmethod
    def rows(self, sql: LiteralString, /, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a read-only SQL statement over the plugin's own tables, values bound by name."""

    @abstractmethod
    def call(self, name: LiteralString, /, **input: Any) -> Any:
        """Run another plugin's query inside this snapshot; its input is checked against its schema.

        Raises `Unsupported`, naming the plugin to enable, if no such operation is loaded. In a `Transaction` commands
        may be called too, and belong to the same transaction.
        """

    @abstractmethod
    def offers(self, name: LiteralString, /) -> bool:
        """Tell whether an operation of that name is loaded, for a soft dependency."""

    @abstractmethod
    def settings(self, settings: type[S], /) -> S:
        """Return the plugin's current settings."""


class Transaction(Snapshot):
    """One unit of work: everything it writes and emits becomes visible together, or not at all."""

    @abstractmethod
    def insert(self, record: R, /) -> R:
        """Write a new record and return it with id, times, `rev` 1 and origin.

        Raises `Conflict` if it is not unique.
        """

    @abstractmethod
    def update(self, record: R, /, **changes: Any) -> R:
        """Write some fields of a record and return it with `rev` + 1; without a difference nothing is written.

        Raises `Stale` if the record was changed since it was read, `Conflict` if it is no longer unique.
        """

    @abstractmethod
    def delete(self, record: R, /) -> R:
        """Mark a record as deleted and return it. It stays in history, and undo brings it back."""

    @abstractmethod
    def restore(self, record: R, /) -> R:
        """Take the mark of deletion off a record."""

    @abstractmethod
    def emit(self, event: Event, /) -> None:
        """Say an event; it is seen only if the transaction commits."""

    @abstractmethod
    def number(self, counter: str, /) -> int:
        """Return the next number of a named counter, 1 first. A committed number is never given again."""


class Context(ABC):
    """The outside of a transaction: may wait, talk to processes and networks, and run queries and commands."""

    actor: str
    workspace: str

    @abstractmethod
    def now(self) -> Instant:
        """Return the current time in UTC."""

    @abstractmethod
    async def call(self, name: LiteralString, /, **input: Any) -> Any:
        """Run any operation with the caller's rights. Raises `Unsupported` if it is not loaded."""

    @abstractmethod
    def offers(self, name: LiteralString, /) -> bool:
        """Tell whether an operation of that name is loaded."""

    @abstractmethod
    def settings(self, settings: type[S], /) -> S:
        """Return the plugin's current settings."""

    @abstractmethod
    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report progress to the caller; cheap, and free to be called often."""

    @abstractmethod
    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        """Return what the plugins answer to a hook, in the order of loading.

        A plugin that raises is left out and named in the log.
        """
