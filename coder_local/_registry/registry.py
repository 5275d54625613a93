"""The registry: which plugins are loaded, and every operation, event and table they declared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from coder_local._store.caller import Caller
from coder_local._store.migrations import MigrationSet, NewerData
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.tables import Tables
from coder_local.api import (
    DeclarationError,
    Domain,
    Error,
    Event,
    Fault,
    Invalid,
    Kind,
    Operation,
    Refused,
    Rights,
    Settings,
    Unsupported,
    Withheld,
)
from coder_local.api.errors import UnknownOperation

from . import hooks, signature, standard
from .nearest import did_you_mean
from .plugins import Plugin, Status
from .principal import MILD, Gate, OpenGate, Principal, principal_of, rights_of

if TYPE_CHECKING:
    from .remote import RemotePlugin

_log = logging.getLogger("coder_local.plugins")
_encode = msgspec.json.Encoder().encode
_PAST = ("created", "updated", "deleted", "restored")


class Prepared:
    """An operation with everything that a call needs, made once at its first call."""

    __slots__ = ("apart", "bounded", "calls", "operation", "plugin", "run", "signature", "summary")

    def __init__(self, operation: Operation, plugin: str, tables: Tables) -> None:
        self.operation = operation
        self.plugin = plugin
        self.calls = 0
        """How often it was called from outside, for who looks which plugin is busy."""
        self.apart: RemotePlugin | None = getattr(operation.function, "apart", None)
        """The process that its function is in, of one that does not run in the daemon."""
        self.bounded: Callable[[Any], bool] = lambda _: operation.quick
        if operation.standard is not None:
            ready = standard.build(operation, tables.of(operation.standard.record))
            self.signature, self.run, self.bounded, self.summary = ready
            return
        function: Any = operation.function
        self.signature = signature.of_function(operation)
        self.summary = " ".join(((function.__doc__ or "").strip().split("\n\n", 1)[0]).split())
        names = tuple(parameter.name for parameter in self.signature.parameters)

        def run(scope: Any, input: Any) -> Any:
            return function(scope, **{name: getattr(input, name) for name in names})

        self.run = run

    @property
    def description(self) -> str:
        """The whole docstring."""
        import inspect  # noqa: PLC0415 - only contracts and help ask for it

        function = self.operation.function
        return self.summary if function is None else inspect.getdoc(function) or self.summary

    def answer(self, scope: Any, input: Any) -> bytes:
        """Run it, and return its answer as JSON."""
        return _encode(self.run(scope, input))

    def encode(self, result: Any) -> bytes:
        """Return an answer as JSON."""
        return _encode(result)


def _nothing_offered(_hook: str, /, **_arguments: Any) -> Iterable[Any]:
    return ()


def _no_folder(plugin: str) -> Path:
    raise DeclarationError(f"{plugin} has no folder: nothing is kept here")


class Registry:
    """Collects what plugins declare. It also serves the store's scopes: calls, settings and event types."""

    def __init__(self) -> None:
        self.plugins: dict[str, Plugin] = {}
        self.tables = Tables()
        self.settings_of: Callable[[type[Any]], Any] = lambda settings: settings()
        self.offered: Callable[..., Iterable[Any]] = _nothing_offered
        self.folder_of: Callable[[str], Path] = _no_folder
        self.load: Callable[..., Domain | None] = Plugin.load
        """Imports a plugin, in the daemon or in a process of its own."""
        self.gate: Gate = OpenGate()
        """Decides on every call, those of one operation inside another among them."""
        self._operations: dict[str, tuple[Operation, str]] = {}
        self._prepared: dict[str, Prepared] = {}
        self.generation = 0
        """Counts up whenever operations come or go; what is derived from them may be kept until then."""
        self._events: dict[type[Event], tuple[str, str]] = {}

    # -- taking in ----------------------------------------------------------------------------------------------------

    def add(self, plugin: Plugin) -> None:
        """Import a plugin and take in its domain, or mark it with the reason why not. Never raises."""
        if self.enter(plugin):
            domain = self.load(plugin)
            if domain is not None:
                self.take(plugin, domain)

    def enter(self, plugin: Plugin) -> bool:
        """Put a plugin on the list before it is imported; false, and it is stopped, if another has its name."""
        if plugin.name in self.plugins:
            plugin.stop(Status.STOPPED_BY_DECLARATION, f"there is already a plugin called {plugin.name}")
            self.plugins[f"{plugin.name} ({plugin.source})"] = plugin
            return False
        self.plugins[plugin.name] = plugin
        return True

    def take(self, plugin: Plugin, domain: Domain) -> None:
        """Take in a domain that is at hand, all or nothing; one that cannot be is marked with the reason."""
        self.plugins[plugin.name] = plugin
        plugin.domain = domain
        try:
            self._check(domain)
            self._take_tables(domain)
        except DeclarationError as error:
            plugin.stop(Status.STOPPED_BY_DECLARATION, str(error))
            return
        except Exception as error:  # noqa: BLE001 - a plugin's own code, which must not keep the daemon from starting
            plugin.stop(Status.STOPPED_BY_DECLARATION, f"{type(error).__name__}: {error}")
            _log.exception("plugin %s cannot be taken in", plugin.name, extra={"plugin": plugin.name})
            return
        for operation in domain.operations.values():
            self._operations[operation.name] = operation, plugin.name
        for name, event in domain.events.items():
            self._events[event] = name, name.rpartition(".")[0]
        plugin.status, plugin.reason = Status.LOADED, ""
        self.generation += 1  # last: what another thread derives meanwhile is of the generation before
        if plugin.process is not None:
            plugin.process.resume()

    def _take_tables(self, domain: Domain) -> None:
        lists = {op.standard.record: op.standard for op in domain.operations.values() if op.standard}
        try:
            for record, declaration in domain.tables.items():
                found = lists.get(record)
                self.tables.add(declaration, found.filters if found else (), found.sort if found else ())
                self.tables.rules[record] = list(domain.rules.get(record, ()))
        except Exception:
            for record in domain.tables:
                self.tables.discard(record)
            raise

    def _check(self, domain: Domain) -> None:
        """Raise `DeclarationError` before anything of the domain is taken in."""
        owner = next(
            (p.name for p in self.plugins.values() if p.loaded and p.domain and p.domain.name == domain.name), None
        )
        if owner is not None:
            raise DeclarationError(f"the domain name {domain.name} is taken by plugin {owner}")
        for declaration in domain.tables.values():
            if self.tables.named_record(declaration.sql_name) is not None:
                raise DeclarationError(f"a table named {declaration.sql_name} belongs to another plugin")
            if self.tables.keeps(declaration.record):
                raise DeclarationError(f"{declaration.record.__name__} is kept by another plugin already")
        for name, event in domain.events.items():
            if known := self._events.get(event):
                raise DeclarationError(f"{event.__name__} cannot be {name}: it is {known[0]} already")
        for name, function in domain.hooks.items():
            hooks.check(name, function)
        for record in domain.rules:
            if record not in domain.tables:
                raise DeclarationError(f"a rule for {record.__name__}, which {domain.name} does not keep")

    def stop(self, plugin: Plugin, status: Status, reason: str) -> None:
        """Take a plugin's operations and tables away again; what it keeps stays."""
        taken_in = plugin.loaded  # one that never was may have a name in common with one that is
        plugin.stop(status, reason)
        if plugin.domain is None or not taken_in:
            return
        for name in plugin.domain.operations:
            self._operations.pop(name, None)
            self._prepared.pop(name, None)
        for record in plugin.domain.tables:
            self.tables.discard(record)
        for event in plugin.domain.events.values():
            self._events.pop(event, None)
        self.generation += 1  # last, as above

    def migration_sets(self) -> list[MigrationSet]:
        """Return the migrations of every loaded plugin."""
        return [
            MigrationSet(
                plugin.name,
                plugin.migrations,
                self._own_tables(plugin),
                plugin.content,
            )
            for plugin in list(self.plugins.values())  # the doctor asks on another thread, and plugins come and go
            if plugin.loaded and plugin.folder is not None and plugin.domain is not None and plugin.domain.tables
        ]

    def _own_tables(self, plugin: Plugin) -> Callable[[], list[Any]]:
        domain = plugin.domain
        assert domain is not None  # noqa: S101 - for the type checker
        return lambda: [self.tables.of(record) for record in domain.tables]

    def stop_unmigrated(self, failed: Mapping[str, Error]) -> None:
        """Stop the plugins whose migrations failed."""
        for name, error in failed.items():
            if name in self.plugins:
                newer = isinstance(error, NewerData)
                status = Status.STOPPED_BY_NEWER_DATA if newer else Status.STOPPED_BY_MIGRATION
                self.stop(self.plugins[name], status, error.message)

    # -- looking up ---------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Prepared | None:
        """Return an operation, ready to be called, or None."""
        prepared = self._prepared.get(name)
        if prepared is None and name in self._operations:
            operation, plugin = self._operations[name]
            prepared = self._prepared[name] = Prepared(operation, plugin, self.tables)
        return prepared

    def operations(self) -> Iterable[Prepared]:
        """Return every operation, by name."""
        for name in sorted(self._operations):
            prepared = self.find(name)
            assert prepared is not None  # noqa: S101 - it was in the dict
            yield prepared

    def calls(self) -> dict[str, int]:
        """Return how often operations were called from outside, by plugin, since their content was loaded."""
        found: dict[str, int] = {}
        for prepared in list(self._prepared.values()):
            found[prepared.plugin] = found.get(prepared.plugin, 0) + prepared.calls
        return found

    def uncallable(self, plugin: Plugin) -> dict[str, str]:
        """Return the operations of a loaded plugin that nobody can call, with why: their signature cannot be read.

        Makes all of its operations ready to be called.
        """
        found: dict[str, str] = {}
        for name in sorted(plugin.domain.operations) if plugin.domain is not None and plugin.loaded else ():
            try:
                self.find(name)
            except Exception as error:  # noqa: BLE001 - a plugin's own code
                text = str(error) if isinstance(error, DeclarationError) else f"{name}: {type(error).__name__}: {error}"
                found[name] = text
        return found

    def names(self) -> list[str]:
        """Return the names of all operations, sorted."""
        return sorted(self._operations)

    def declared(self, name: str) -> Operation | None:
        """Return an operation as it was declared, without making it ready."""
        found = self._operations.get(name)
        return None if found is None else found[0]

    def events(self) -> dict[str, type[Event] | None]:
        """Return every event type by name; None for those that tables say by themselves."""
        found: dict[str, type[Event] | None] = {name: event for event, (name, _) in self._events.items()}
        for table in self.tables.all():
            if table.history:
                found.update({f"{table.kind}.{verb}": None for verb in _PAST})
        return dict(sorted(found.items()))

    def settings_types(self) -> dict[str, type[Settings]]:
        """Return the settings of the loaded plugins that have some."""
        return {
            plugin.name: plugin.domain.settings_type
            for plugin in self.plugins.values()
            if plugin.loaded and plugin.domain is not None and plugin.domain.settings_type is not None
        }

    # -- serving the store's scopes -----------------------------------------------------------------------------------

    def offers(self, name: str) -> bool:
        """Tell whether an operation is loaded."""
        return name in self._operations

    def event_type(self, event: type[Event]) -> tuple[str, str]:
        """Return type and subject kind of an event. Raises `DeclarationError` for one that was not declared."""
        found = self._events.get(event)
        if found is None:
            raise DeclarationError(f"{event.__name__} is no declared event: put @domain.event(...) on it")
        return found

    def run_inside(self, scope: Any, name: str, values: Mapping[str, Any]) -> Any:
        """Run a query, or in a transaction a command, inside a scope; its answer is plain data, as on the wire."""
        prepared = self.find(name)
        if prepared is None:
            raise self.unsupported(name)
        kind = prepared.operation.kind
        if kind is not Kind.QUERY and not (kind is Kind.COMMAND and isinstance(scope, WriteScope)):
            inside = "command" if isinstance(scope, WriteScope) else "query"
            raise Invalid(f"{name} is {'an' if kind is Kind.ACTION else 'a'} {kind}: it cannot run inside a {inside}")
        assert isinstance(scope, ReadScope)  # noqa: S101 - for the type checker
        if scope.without and name.partition(".")[0] == scope.without:
            scope.withheld = True
            raise Withheld(name)
        self._admit_inside(scope.caller, prepared.operation)
        decoded = prepared.signature.convert(values, strict=True)
        before, scope.running = scope.running, name
        try:
            if isinstance(scope, WriteScope) and kind is Kind.COMMAND:
                return _run_command(scope, prepared, decoded)
            return msgspec.json.decode(prepared.answer(scope, decoded))
        finally:
            scope.running = before

    def _admit_inside(self, caller: Caller, operation: Operation) -> None:
        """Raise `Refused` where nobody agreed to it, or where a call by itself would not be let in."""
        confirmed = caller.confirmed
        if confirmed is None:
            declared = self.declared(caller.operation)
            if declared is None:
                return
            _refuse_milder(declared, operation)
            confirmed = frozenset({declared.safety})
        elif operation.safety not in MILD and operation.safety not in confirmed:
            raise unconfirmed(operation)
        principal: Principal | None = caller.principal
        if principal is not None:
            self.gate.admit(msgspec.structs.replace(principal, confirmed=confirmed), operation, b"", None)

    def rights_of(self, caller: Caller) -> Rights:
        """Return what a caller may do as plain data; confirmed is what its operation was admitted for."""
        confirmed = caller.confirmed
        if confirmed is None:
            declared = self.declared(caller.operation)
            confirmed = frozenset(() if declared is None else (declared.safety,))
        return rights_of(caller.principal or Principal(caller.actor, caller.workspace), confirmed)

    def acting(self, caller: Caller, rights: Rights, operation: str) -> Caller:
        """Return the caller for a part of another's work that is done with those rights."""
        principal = principal_of(rights)
        return msgspec.structs.replace(
            caller,
            actor=rights.actor,
            workspace=rights.workspace,
            operation=operation or caller.operation,
            principal=principal,
            confirmed=principal.confirmed,
        )

    def operation(self, name: str) -> Operation:
        """Return an operation as it was declared. Raises `UnknownOperation`, or `Unsupported` if its plugin stopped."""
        found = self._operations.get(name)
        if found is None:
            raise self.unknown(name)
        return found[0]

    def check(self, name: str, values: Mapping[str, Any]) -> list[Fault]:
        """Return what an operation's schema has against an input. Raises as `operation` does."""
        prepared = self.find(name)
        if prepared is None:
            raise self.unknown(name)
        return prepared.signature.faults(values)

    def unknown(self, name: str) -> Error:
        """Return the answer for a name that is no operation, with the nearest one."""
        plugin = self.plugins.get(name.split(".", 1)[0])
        if plugin is not None and not plugin.loaded:
            return self.unsupported(name)
        hint = did_you_mean(name, self.names(), "see operations.list")
        return UnknownOperation(f"there is no operation {name[:200]!r}", hint=hint, data={"operation": name[:200]})

    def unsupported(self, name: str) -> Unsupported:
        """Return the answer for an operation whose plugin is missing or stopped, with why, and what to do."""
        named = name.split(".", 1)[0]
        plugin = self.plugins.get(named)
        if plugin is None:
            return Unsupported(f"{name} is not there", hint=f"enable the plugin {named}", data={"plugin": named})
        hint = "mend what stopped it, then start the daemon again"
        if plugin.status in {Status.DISABLED, Status.NEEDS_ENABLING}:
            hint = f"enable the plugin {named}"
        elif plugin.status in {Status.QUARANTINED, Status.LEFT_OUT}:
            hint = f"look at why, then: coder-local plugins enable {named}"
        return Unsupported(
            f"{name} is not there: plugin {named} is {plugin.status}"
            + (f" ({plugin.reason})" if plugin.reason else ""),
            hint=hint,
            data={"plugin": named, "status": str(plugin.status)},
        )


def _run_command(scope: WriteScope, prepared: Prepared, input: Any) -> Any:
    if input.idempotency_key is not None:
        raise Invalid(
            f"{prepared.operation.name} has no key of its own inside {scope.caller.operation or 'a transaction'}",
            field="/idempotency_key",
            hint="leave it out; the key of the whole call covers what is called inside it",
        )
    if input.if_rev is None:
        return msgspec.json.decode(prepared.answer(scope, input))
    with scope.holding(str(getattr(input, "id", "")), input.if_rev):
        return msgspec.json.decode(prepared.answer(scope, input))


def _refuse_milder(caller: Operation, operation: Operation) -> None:
    """Raise `Refused` where the way over another operation would go round the question to the person."""
    asked = operation.safety in MILD or caller.safety is operation.safety
    if asked and caller.person_only >= operation.person_only:
        return
    needs = f"safety={operation.safety}" + (", person_only=True" if operation.person_only else "")
    raise Refused(
        f"{operation.name} is {operation.safety}, and was called by an operation that is declared as milder",
        hint=f"the calling operation must declare {needs}, so that it is asked of a person before it begins",
        data={"rule": "safety", "operation": operation.name, "safety": str(operation.safety)},
    )


def unconfirmed(operation: Operation) -> Refused:
    """Return the answer to a call whose safety word nobody agreed to."""
    return Refused(
        f"{operation.name} is {operation.safety}, and nobody agreed to that for this work",
        hint=f"let a person agree to {operation.safety} before the work begins",
        data={"rule": "safety", "operation": operation.name, "safety": str(operation.safety)},
    )
