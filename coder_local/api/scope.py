"""What a function of a plugin is handed: a read snapshot, a write transaction, or a context for the outside world.

The kind of the function decides: a query gets a `Snapshot`, a command a `Transaction`, an action or a stream a
`Context`. The store implements the first two; plugins only ever see these classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Concatenate, LiteralString, ParamSpec, TypeVar

from .errors import Fault
from .hearing import Subscription
from .operations import Operation
from .records import Event, Record, Settings
from .rights import Rights
from .values import Instant

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Settings)
P = ParamSpec("P")
T = TypeVar("T")


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

    @abstractmethod
    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        """Return what the plugins answer to a hook, as `Context.offered` does."""

    @abstractmethod
    def operation(self, name: str, /) -> Operation:
        """Return an operation as it was declared.

        Raises `NotFound`, with the nearest name, if there is none, and `Unsupported` if its plugin is stopped.
        """

    @abstractmethod
    def check(self, name: str, input: Mapping[str, Any], /) -> list[Fault]:
        """Return all that an operation's schema has against an input of plain data, nothing if it fits.

        Raises as `operation` does.
        """

    @abstractmethod
    def rights(self) -> Rights:
        """Return what the caller may do, to act on his behalf later."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The plugin's own folder in the data directory, for what is too large for the database."""


class Withheld(BaseException):
    """An operation was called where its domain is withheld, see `Transaction.acting`. Not for a command to catch."""


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
        """Mark a record as deleted and return it. It stays in history, and undo brings it back.

        One that is kept without history is gone for good. Raises `Stale` if it was changed since it was read.
        """

    @abstractmethod
    def restore(self, record: R, /) -> R:
        """Take the mark of deletion off a record. Raises `ValueError` for one that is kept without history."""

    @abstractmethod
    def emit(self, event: Event, /) -> None:
        """Say an event; it is seen only if the transaction commits."""

    @abstractmethod
    def number(self, counter: str, /) -> int:
        """Return the next number of a named counter, 1 first. A committed number is never given again."""

    @abstractmethod
    def acting(self, rights: Rights, operation: str = "", *, without: str = "") -> AbstractContextManager[Transaction]:
        """Run a part of this transaction on behalf of someone else, inside a savepoint.

        If the block raises, all that was written and said in it is taken back, and the exception goes on; the rest of
        the transaction stands. What it wrote is a change set of its own under that actor, so that undo takes it back
        alone; it stands in history before what the rest wrote, under the name `operation` (without one, the name of the
        operation that runs). Its `call` reaches what the rights reach, but no operation of the domain `without`: there
        it raises `Withheld`, and so does the block, whatever became of that inside. Raises `Unauthenticated` if the
        token of the rights was revoked.
        """


class Context(ABC):
    """The outside of a transaction: may wait, talk to processes and networks, and run queries and commands."""

    actor: str
    workspace: str

    @abstractmethod
    def now(self) -> Instant:
        """Return the current time in UTC."""

    @abstractmethod
    def now_ms(self) -> int:
        """Return the current time in milliseconds since 1970, by the same clock as `now`."""

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

    @abstractmethod
    def operation(self, name: str, /) -> Operation:
        """Return an operation as it was declared. Raises as `Snapshot.operation` does."""

    @abstractmethod
    def rights(self) -> Rights:
        """Return what the caller may do, to act on his behalf later."""

    @abstractmethod
    def acting(self, rights: Rights, request_id: str = "") -> Context:
        """Return a context for someone else, whose `call` reaches what the rights reach.

        Each use raises `Unauthenticated` if the token of the rights was revoked; none counts against its rate limit.
        """

    @abstractmethod
    async def transact(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        """Run a function as one durable transaction on the writer's thread, and return its result after the commit.

        Result and exception are handed over as they are. It stands in history as `<plugin>.<function>`, and has 10
        seconds; then it is rolled back, and this raises `TimedOut`. To cancel the wait does not undo what commits.
        """

    @abstractmethod
    async def read(self, function: Callable[Concatenate[Snapshot, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        """Run a function in one snapshot on the reader's thread, and return its result as it is.

        It has 10 seconds; then it is interrupted, and this raises `TimedOut`.
        """

    @abstractmethod
    def subscribe(self, *types: str, subjects: Sequence[str] = (), cursor: str | None = None) -> Subscription:
        """Listen to committed events of some types and subjects (exact, or ending in `*`), to all of them without any.

        It listens from the call on, or from after a cursor, and holds few events in memory however slowly it is read.
        Close it at the end: `with ctx.subscribe("notes.*") as events:`, then `async for event in events:`. Raises
        `Stale` if the log no longer has what comes after the cursor, and `Invalid` for what is no cursor.
        """

    @abstractmethod
    def at_work(self) -> AbstractContextManager[None]:
        """Keep the daemon from stopping for want of clients while the block runs; who stops it by hand is not kept."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The plugin's own folder in the data directory, made when first asked for; only this user may enter it.

        In a sandbox a temporary one, which goes with the sandbox.
        """
