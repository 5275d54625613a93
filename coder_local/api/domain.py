"""`Domain`: the object a plugin declares itself on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Concatenate, LiteralString, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from .hearing import Heard
from .operations import Index, Kind, Listener, Operation, Rule, Safety, StandardOperation, TableDeclaration
from .records import BASE_FIELDS, Event, Record, Settings
from .scope import Context, Snapshot, Transaction

_Encodable = (
    msgspec.Struct | Mapping[str, Any] | Sequence[Any] | AbstractSet[Any] | str | bytes | int | float | bool | None
    | Decimal | date | time | timedelta | Enum
)  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T", bound=_Encodable)
"""An answer; bounded, so that type checkers refuse a command that is `async def`, whose answer would be a coroutine."""
R = TypeVar("R", bound=Record)
_F = TypeVar("_F", bound=Callable[..., Any])

_TYPE = re.compile(r"\*|[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.?\*)?")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_VERBS = ("list", "get", "create", "update", "delete", "history")
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200  # inspect.CO_*; importing inspect costs 8 ms
_FORMS = {
    Kind.QUERY: (0, "runs inside a snapshot: declare it with `def` and return its answer"),
    Kind.COMMAND: (0, "runs inside a transaction: declare it with `def`, or make it an action"),
    Kind.ACTION: (_COROUTINE, "waits for the outside world: declare it with `async def`, or make it a command"),
    Kind.STREAM: (_ASYNC_GENERATOR, "answers with many items: declare it with `async def` and `yield`"),
}


class DeclarationError(Exception):
    """A plugin declares something that cannot be; the message says what and how to put it right."""


class Standard(NamedTuple):
    """The standard operations of one record, as `Domain.standard` declared them."""

    record: type[Record]
    operations: tuple[str, ...]


class Domain:
    """One plugin: its records, events, operations, rules, hooks and settings.

    Make one as `domain` in `records.py`; the decorators register on it and return what they decorate unchanged.
    `name` is the first word of every wire name and the prefix of every table. Third parties give their own `version`
    (SemVer); the bundled domains have the daemon's.
    """

    def __init__(self, name: LiteralString, *, version: str = "", requires: tuple[str, ...] = ()) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
            raise DeclarationError(f"domain name {name!r} must be 2 to 31 small letters, digits or underscores")
        self.name = name
        self.version = version
        self.requires = requires
        self.tables: dict[type[Record], TableDeclaration] = {}
        self.operations: dict[str, Operation] = {}
        self.events: dict[str, type[Event]] = {}
        self.rules: dict[type[Record], list[Rule]] = {}
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.settings_type: type[Settings] | None = None
        self.started: list[Callable[..., Any]] = []
        self.stopped: list[Callable[..., Any]] = []
        self.listeners: dict[str, Listener] = {}

    def table(
        self,
        name: LiteralString,
        *,
        unique: Iterable[tuple[str, ...]] = (),
        indexes: Iterable[tuple[str, ...] | Index] = (),
        read_only: Iterable[str] = (),
        key: LiteralString | None = None,
        history: bool = True,
    ) -> Callable[[type[R]], type[R]]:
        """Declare that a record is kept, in the table `<domain>_<name>`, or `<domain>` when `name` is the domain's own.

        `unique` and `indexes` are tuples of field names, or an `Index` of some records; uniqueness holds among records
        that are not deleted.
        `read_only` fields are written by the plugin's own functions only. `key` is the field that people call the
        record by (`PLAN-12`), unique in its workspace: standard operations take it wherever they take the id.

        Without `history` a record has no change rows, no undo, no `restore`, and no events of its own (`.created`,
        `.updated`, ...), and `tx.delete` takes its row away for good: for records that only a state machine of the
        plugin writes, which says its own events. Its standard operations are list and get.
        """

        def declare(record: type[R]) -> type[R]:
            own = name == self.name
            declaration = TableDeclaration(
                record=record,
                path=name if own else f"{self.name}.{name}",
                sql_name=name if own else f"{self.name}_{name}",
                word=re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", record.__name__).lower(),
                unique=tuple(unique),
                indexes=tuple(each if isinstance(each, Index) else Index(fields=each) for each in indexes),
                read_only=frozenset(read_only),
                key=key,
                history=history,
            )
            self._check_fields(declaration)
            self.tables[record] = declaration
            return record

        return declare

    def standard(
        self,
        record: type[Record],
        *,
        operations: tuple[LiteralString, ...] = _VERBS,
        filters: tuple[LiteralString, ...] = (),
        sort: tuple[LiteralString, ...] = (),
        search: tuple[LiteralString, ...] = (),
        references: Mapping[LiteralString, type[Record] | tuple[type[Record], ...]] | None = None,
    ) -> Standard:
        """Declare the standard operations of a record: any of list, get, create, update, delete, history.

        `filters` are fields that list takes as equal-to, `sort` fields it can be ordered by (each gets an index; `id`,
        which is by time of making, always can), `search` text fields that its `q` looks into. `references`
        are those filters that name another record: its key is taken as well as its id. With a tuple it may be one of
        several records, or one of another plugin: what is the key of none is taken for an id.
        """
        declaration = self.tables.get(record)
        if declaration is None:
            raise DeclarationError(f"{record.__name__} has no table yet: put @domain.table(...) on it first")
        for verb in operations:
            if verb not in _VERBS:
                raise DeclarationError(f"{declaration.path}.{verb}: standard operations are {', '.join(_VERBS)}")
            if not declaration.history and verb not in {"list", "get"}:
                raise DeclarationError(
                    f"{declaration.path}.{verb}: {record.__name__} is kept without history, so its standard operations"
                    " are list and get; name them with operations="
                )
            kind = Kind.QUERY if verb in {"list", "get", "history"} else Kind.COMMAND
            safety = Safety.READ if kind is Kind.QUERY else Safety.WRITE
            standard = StandardOperation(verb, record, filters, sort, search, tuple((references or {}).items()))
            self._add(
                Operation(f"{declaration.path}.{verb}", kind, safety, None, quick=verb == "get", standard=standard)
            )
        if wrong := set(references or {}) - set(filters):
            raise DeclarationError(f"{declaration.path}: {', '.join(sorted(wrong))} must be among its filters")
        for field in (*filters, *sort, *search):
            if field not in record.__struct_fields__:
                raise DeclarationError(f"{record.__name__} has no field {field!r} to filter, sort or search by")
        return Standard(record, operations)

    def rule(
        self, record: type[R]
    ) -> Callable[[Callable[[Transaction, R | None, R], None]], Callable[[Transaction, R | None, R], None]]:
        """Declare what must hold for a record on every way of writing it: operation, import, undo, sync.

        The function is given the record before (None when new) and after; it raises `Invalid` or `Conflict`.
        """

        def declare(function: Callable[[Transaction, R | None, R], None]) -> Callable[[Transaction, R | None, R], None]:
            self.rules.setdefault(record, []).append(function)
            return function

        return declare

    def event(self, name: LiteralString) -> Callable[[type[_EventT]], type[_EventT]]:
        """Declare an event beside those that every table says: `.created`, `.updated`, `.deleted`, `.restored`."""

        def declare(event: type[_EventT]) -> type[_EventT]:
            self._check_name(name)
            if name in self.events:
                raise DeclarationError(f"event {name} is declared twice")
            if event in self.events.values():
                raise DeclarationError(f"{event.__name__} is two events; declare a class for each")
            self.events[name] = event
            return event

        return declare

    def query(
        self, name: LiteralString, *, deadline: float = 10.0, quick: bool = False, person_only: bool = False
    ) -> Callable[[Callable[Concatenate[Snapshot, P], T]], Callable[Concatenate[Snapshot, P], T]]:
        """Declare a function that reads, in one snapshot. `quick` only for a bounded look-up by key."""

        def declare(function: Callable[Concatenate[Snapshot, P], T]) -> Callable[Concatenate[Snapshot, P], T]:
            self._add(Operation(name, Kind.QUERY, Safety.READ, function, (), deadline, person_only, quick))
            return function

        return declare

    def command(
        self,
        name: LiteralString,
        *,
        emits: type[Event] | tuple[type[Event], ...] = (),
        safety: Safety = Safety.WRITE,
        deadline: float = 10.0,
        person_only: bool = False,
    ) -> Callable[[Callable[Concatenate[Transaction, P], T]], Callable[Concatenate[Transaction, P], T]]:
        """Declare a function that reads and writes, in one transaction on the one writer thread."""

        def declare(function: Callable[Concatenate[Transaction, P], T]) -> Callable[Concatenate[Transaction, P], T]:
            said = emits if isinstance(emits, tuple) else (emits,)
            self._add(Operation(name, Kind.COMMAND, safety, function, said, deadline, person_only))
            return function

        return declare

    def action(
        self,
        name: LiteralString,
        *,
        safety: Safety = Safety.EXTERNAL,
        deadline: float = 600.0,
        person_only: bool = False,
    ) -> Callable[
        [Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]],
        Callable[Concatenate[Context, P], Coroutine[Any, Any, T]],
    ]:
        """Declare an `async def` that talks to the outside world, never inside a transaction."""

        def declare(
            function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]],
        ) -> Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]:
            self._add(Operation(name, Kind.ACTION, safety, function, (), deadline, person_only))
            return function

        return declare

    def stream(
        self, name: LiteralString, *, safety: Safety = Safety.READ
    ) -> Callable[
        [Callable[Concatenate[Context, P], AsyncIterator[T]]], Callable[Concatenate[Context, P], AsyncIterator[T]]
    ]:
        """Declare an async generator that answers with many items until it ends or the caller leaves."""

        def declare(
            function: Callable[Concatenate[Context, P], AsyncIterator[T]],
        ) -> Callable[Concatenate[Context, P], AsyncIterator[T]]:
            self._add(Operation(name, Kind.STREAM, safety, function, (), float("inf")))
            return function

        return declare

    def hook(self, function: _F) -> _F:
        """Implement the hook of the function's own name; see `coder_local.api.hooks` for those there are."""
        self.hooks[function.__name__] = function
        return function

    def settings(self, settings: type[_SettingsT]) -> type[_SettingsT]:
        """Declare the record of the plugin's settings."""
        self.settings_type = settings
        return settings

    def on_start(
        self, function: Callable[[Context], Coroutine[Any, Any, None]]
    ) -> Callable[[Context], Coroutine[Any, Any, None]]:
        """Run an `async def` once after the daemon can answer; a failure stops this plugin only."""
        if not _flags(function) & _COROUTINE:
            raise DeclarationError(f"{self.name}: what runs on start waits for the world; declare it with `async def`")
        self.started.append(function)
        return function

    def on_stop(
        self, function: Callable[[Context], Coroutine[Any, Any, None]]
    ) -> Callable[[Context], Coroutine[Any, Any, None]]:
        """Run an `async def` once when the daemon stops or the plugin is disabled, if the plugin had begun.

        No new call is taken then, and the store is still open: `ctx.transact` and `ctx.call` work. It has 10 seconds; a
        failure is in the log, and holds up nobody. Tasks that the plugin made are its own to end.
        """
        if not _flags(function) & _COROUTINE:
            raise DeclarationError(f"{self.name}: what runs on stop waits for the world; declare it with `async def`")
        self.stopped.append(function)
        return function

    def listener(self, *types: LiteralString) -> Callable[[_ListenerT], _ListenerT]:
        """Declare a function that is called once for each event of some types (exact, or ending in `*`), in order.

        It runs in a transaction that also saves its place in the log: exactly once, also across restarts. What it
        writes is the plugin's, in the event's workspace. A new one begins at the head of the log. An event that fails
        five times (after 1, 2, 4 and 8 seconds) is parked, and so is one that eight others led to; the listener goes
        on, and `daemon.doctor` names what was parked.
        """
        for type_ in types or ("",):
            if not _TYPE.fullmatch(type_):
                raise DeclarationError(f"{self.name}: {type_!r} is no type of event; say notes.note.pinned, or notes.*")

        def declare(function: _ListenerT) -> _ListenerT:
            word = getattr(function, "__name__", "").lstrip("_")
            name = f"{self.name}.{word}"
            if _flags(function) & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR):
                raise DeclarationError(f"{name} runs inside a transaction: declare it with `def`")
            if not _NAME.fullmatch(name):
                raise DeclarationError(f"{name} is kept under its name: a listener is a function with one")
            if name in self.listeners:
                raise DeclarationError(f"listener {name} is declared twice")
            self.listeners[name] = Listener(name, types, function)
            return function

        return declare

    def _add(self, operation: Operation) -> None:
        self._check_name(operation.name)
        if operation.name in self.operations:
            raise DeclarationError(f"operation {operation.name} is declared twice")
        if operation.standard is None and not (operation.function and operation.function.__doc__):
            raise DeclarationError(f"operation {operation.name} needs a docstring: it is its description at every door")
        form, cure = _FORMS[operation.kind]
        if operation.function and _flags(operation.function) & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR) != form:
            raise DeclarationError(f"{operation.name} is {_article(operation.kind)}, which {cure}")
        self.operations[operation.name] = operation

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name.split(".", 1)[0] != self.name:
            raise DeclarationError(f"{name!r} must be {self.name}.<words>, small letters, joined by dots")

    def _check_fields(self, table: TableDeclaration) -> None:
        fields = set(table.record.__struct_fields__)
        if missing := set(BASE_FIELDS) - fields:
            raise DeclarationError(f"{table.record.__name__} must be a Record (it lacks {', '.join(sorted(missing))})")
        indexed = {name.removesuffix(" DESC") for index in table.indexes for name in index.fields}
        for field in {name for group in table.unique for name in group} | indexed | table.read_only:
            if field not in fields:
                raise DeclarationError(f"{table.record.__name__} has no field {field!r}")
        if table.key is not None and ("workspace_id", table.key) not in table.unique:
            raise DeclarationError(
                f"{table.record.__name__}: its key must be unique; add unique=(('workspace_id', {table.key!r}),)"
            )


def _flags(function: Callable[..., Any]) -> int:
    code = getattr(function, "__code__", None)
    return 0 if code is None else int(code.co_flags)


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind is Kind.ACTION else f"a {kind}"


class _Listens(Protocol):
    def __call__(self, tx: Transaction, /, *, event: Heard) -> None: ...


_ListenerT = TypeVar("_ListenerT", bound=_Listens)
_EventT = TypeVar("_EventT", bound=Event)
_SettingsT = TypeVar("_SettingsT", bound=Settings)
