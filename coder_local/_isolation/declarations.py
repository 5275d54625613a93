"""A domain as plain data, and back: the daemon serves a domain whose functions live in another process.

What only works inside the daemon is refused here, by its name, before the plugin is taken in.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple, Protocol, get_type_hints

import msgspec
from msgspec import UNSET

from coder_local.api import DeclarationError, Domain, Index, Kind, Operation, Record, Safety, Unsupported
from coder_local.api.operations import Listener, StandardOperation, TableDeclaration

from .manifest import Permissions, covers
from .types import REQUIRED, Describer, Node, Rebuilder

_CURE = 'say isolation = "in_process" in plugin.toml, or do without it'


class Remote(Protocol):
    """The process that holds the functions."""

    def outside(self, kind: str, name: str, context: Any, values: dict[str, Any]) -> Awaitable[Any]:
        """Run an action, or what is run at start or stop."""
        ...

    def stream(self, name: str, context: Any, values: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Run a stream."""
        ...


class Rebuilt(NamedTuple):
    """What the daemon knows of a domain in another process."""

    domain: Domain
    tables: dict[str, type[Record]]
    """Its records by the names of their tables."""
    types: Rebuilder


# -- in the child -----------------------------------------------------------------------------------------------------


def describe(domain: Domain, permissions: Permissions, docs_of: Callable[[Any], dict[str, str]]) -> Node:
    """Return a domain as plain data; `docs_of` is as a `Describer` takes it.

    Raises `DeclarationError` for what cannot run in a process of its own.
    """
    _refuse(domain, permissions)
    told = Describer(docs_of)
    events = {name: told.tell(event)[1] for name, event in domain.events.items()}
    settings = domain.settings_type
    return {
        "name": domain.name,
        "version": domain.version,
        "requires": list(domain.requires),
        "tables": [_table(told, each) for each in domain.tables.values()],
        "events": events,
        "operations": [_operation(told, domain, each) for each in domain.operations.values()],
        "listeners": [[each.name, list(each.types), each.function.__doc__] for each in domain.listeners.values()],
        "settings": None if settings is None else told.tell(settings)[1],
        "started": len(domain.started),
        "stopped": len(domain.stopped),
        "structs": [[key, node] for key, node in told.structs.items()],
    }


def _refuse(domain: Domain, permissions: Permissions) -> None:
    own = f"{domain.name}."
    for name in domain.hooks:
        raise DeclarationError(f"the hook {name} of {domain.name} runs in the daemon only; {_CURE}")
    for record in domain.rules:
        raise DeclarationError(
            f"the rule for {record.__name__} of {domain.name} would hold the writer while its process works; {_CURE}"
        )
    for listener in domain.listeners.values():
        for type_ in listener.types:
            if not (type_.startswith(own) or covers(permissions.events, type_)):
                raise DeclarationError(
                    f"{listener.name} listens to {type_}, which is not in its manifest;"
                    f' put "{type_}" into permissions.events of plugin.toml'
                )


def _table(told: Describer, table: TableDeclaration) -> Node:
    return {
        "record": told.tell(table.record)[1],
        "path": table.path,
        "sql_name": table.sql_name,
        "word": table.word,
        "unique": [list(group) for group in table.unique],
        "indexes": [[list(index.fields), index.where, index.name] for index in table.indexes],
        "read_only": sorted(table.read_only),
        "key": table.key,
        "history": table.history,
    }


def _operation(told: Describer, domain: Domain, operation: Operation) -> Node:
    standard = operation.standard
    if standard is not None:
        return {"standard": _standard(told, standard), "name": operation.name}
    function: Any = operation.function
    said = {event: name for name, event in domain.events.items()}
    try:
        hints = get_type_hints(function, include_extras=True)
        first, *rest = inspect.signature(function).parameters.values()
        parameters = [[each.name, told.tell(hints[each.name]), _default(told, each)] for each in rest]
        result = told.tell(hints["return"])
    except (DeclarationError, KeyError, NameError, ValueError) as error:
        raise DeclarationError(f"{operation.name}: {error}; {_CURE}") from error
    return {
        "name": operation.name,
        "kind": str(operation.kind),
        "safety": str(operation.safety),
        "deadline": operation.deadline,
        "person_only": operation.person_only,
        "emits": [said[event] for event in operation.emits if event in said],
        "doc": inspect.getdoc(function),
        "first": first.name,
        "parameters": parameters,
        "result": result,
    }


def _default(told: Describer, parameter: inspect.Parameter) -> Node:
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise DeclarationError(f"put a `*` before {parameter.name}; parameters are keyword-only")
    return REQUIRED if parameter.default is inspect.Parameter.empty else told.value(parameter.default)


def _standard(told: Describer, standard: StandardOperation) -> Node:
    references = [
        [field, [told.tell(each)[1] for each in (records if isinstance(records, tuple) else (records,))],
         isinstance(records, tuple)]
        for field, records in standard.references
    ]  # fmt: skip
    return [
        standard.verb, told.tell(standard.record)[1], list(standard.filters), list(standard.sort),
        list(standard.search), references,
    ]  # fmt: skip


def values_of(function: Any, raw: bytes) -> dict[str, Any]:
    """Return what a function's keywords are of an input as JSON, which the daemon has looked at already."""
    decoder = _DECODERS.get(function)
    if decoder is None:
        hints = get_type_hints(function, include_extras=True)
        _, *rest = inspect.signature(function).parameters.values()
        fields: list[Any] = [(each.name, hints[each.name], msgspec.field(default=UNSET)) for each in rest]
        decoder = _DECODERS[function] = msgspec.json.Decoder(msgspec.defstruct("Input", fields, kw_only=True))
    found = decoder.decode(raw)
    return {name: value for name in found.__struct_fields__ if (value := getattr(found, name)) is not UNSET}


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


# -- in the daemon ----------------------------------------------------------------------------------------------------


def rebuild(told: Node, module: str, remote: Remote) -> Rebuilt:
    """Return the domain that plain data tells of, its functions standing for those of another process.

    Raises `DeclarationError` for what tells of none.
    """
    try:
        return _rebuild(told, module, remote)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DeclarationError(f"its process told what is no domain: {type(error).__name__}: {error}") from error


def _rebuild(told: Node, module: str, remote: Remote) -> Rebuilt:
    types = Rebuilder(module, dict(told["structs"]))
    domain: Any = Domain(told["name"], version=told["version"], requires=tuple(told["requires"]))
    tables: dict[str, type[Record]] = {}
    for each in told["tables"]:
        record = types.make(["own", each["record"]])
        domain.tables[record] = _table_of(each, record)
        tables[each["sql_name"]] = record
    for name, key in told["events"].items():
        domain.event(name)(types.make(["own", key]))
    for each in told["operations"]:
        if (standard := each.get("standard")) is not None:
            _declare_standard(domain, types, standard)
        else:
            _declare(domain, types, remote, each)
    if told["settings"] is not None:
        domain.settings(types.make(["own", told["settings"]]))
    for name, listens, doc in told["listeners"]:
        domain.listeners[name] = Listener(name, tuple(listens), _listener(name, doc))
    for kind, functions in (("started", domain.started), ("stopped", domain.stopped)):
        functions += [_hook(remote, kind, index) for index in range(int(told[kind]))]
    return Rebuilt(domain, tables, types)


def _table_of(told: Node, record: type[Record]) -> TableDeclaration:
    return TableDeclaration(
        record=record,
        path=told["path"],
        sql_name=told["sql_name"],
        word=told["word"],
        unique=tuple(tuple(group) for group in told["unique"]),
        indexes=tuple(Index(fields=tuple(fields), where=where, name=name) for fields, where, name in told["indexes"]),
        read_only=frozenset(told["read_only"]),
        key=told["key"],
        history=told["history"],
    )


def _declare_standard(domain: Any, types: Rebuilder, told: Node) -> None:
    verb, record, filters, sort, search, references = told
    reached: dict[str, Any] = {}
    for field, records, several in references:
        found = tuple(types.make(["own", key]) for key in records)
        reached[field] = found if several else found[0]
    domain.standard(
        types.make(["own", record]), operations=(verb,), filters=tuple(filters), sort=tuple(sort),
        search=tuple(search), references=reached,
    )  # fmt: skip


def _declare(domain: Any, types: Rebuilder, remote: Remote, told: Node) -> None:
    kind, name = Kind(told["kind"]), told["name"]
    function = _STUBS[kind](remote, name)
    parameters = [inspect.Parameter(told["first"], inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    hints: dict[str, Any] = {}
    for each, type_, default in told["parameters"]:
        hints[each] = types.make(type_)
        value = inspect.Parameter.empty if default == REQUIRED else types.value(default, hints[each])
        parameters.append(inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=value))
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = hints | {"return": types.make(told["result"])}
    function.__doc__ = told["doc"]
    function.apart = remote
    emits = tuple(domain.events[event] for event in told["emits"])
    if kind is Kind.QUERY:
        options: dict[str, Any] = {"deadline": told["deadline"], "person_only": told["person_only"]}
    elif kind is Kind.STREAM:
        options = {"safety": Safety(told["safety"])}
    else:
        options = {name: told[name] for name in ("deadline", "person_only")} | {"safety": Safety(told["safety"])}
    if kind is Kind.COMMAND:
        options["emits"] = emits
    getattr(domain, str(kind))(name, **options)(function)


def _inside(_: Remote, name: str) -> Any:
    def run(_scope: Any, **_values: Any) -> Any:
        raise Unsupported(
            f"{name} runs in a process of its own, and cannot be called inside a transaction or a query",
            hint="call it from an action, by ctx.call",
        )

    return run


def _action(remote: Remote, name: str) -> Any:
    async def run(ctx: Any, **values: Any) -> Any:
        return await remote.outside("action", name, ctx, values)

    return run


def _stream(remote: Remote, name: str) -> Any:
    async def run(ctx: Any, **values: Any) -> AsyncGenerator[Any, None]:
        items = remote.stream(name, ctx, values)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return run


_STUBS: dict[Kind, Callable[[Remote, str], Any]] = {
    Kind.QUERY: _inside, Kind.COMMAND: _inside, Kind.ACTION: _action, Kind.STREAM: _stream
}  # fmt: skip


def _hook(remote: Remote, kind: str, index: int) -> Any:
    async def run(ctx: Any) -> None:
        await remote.outside(kind, str(index), ctx, {})

    return run


def _listener(name: str, doc: str | None) -> Any:
    def run(_tx: Any, *, event: Any) -> None:  # noqa: ARG001
        raise Unsupported(f"{name} runs in a process of its own")

    run.__doc__ = doc
    return run
