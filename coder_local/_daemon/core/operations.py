"""`operations.list`: what may be asked, with everything that a client needs to ask it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from coder_local._registry.kernel import Kernel
from coder_local._registry.registry import Prepared, Registry
from coder_local.api import Domain, Kind, Safety, Snapshot, Value

if TYPE_CHECKING:
    from coder_local._contracts.schemas import Model

_log = logging.getLogger("coder_local.operations")
_TRIES = 3


class OperationInfo(Value):
    """One operation."""

    name: str
    kind: Kind
    safety: Safety
    person_only: bool
    """Whether it is refused to agents, whatever they were granted."""
    summary: str
    """Its first sentence."""
    description: str
    """The whole text on it."""
    plugin: str
    input: dict[str, Any] | None
    """JSON Schema 2020-12 of what it takes, complete in itself; null if schemas were not asked for."""
    output: dict[str, Any] | None
    """JSON Schema of what it answers; of a stream, of one item."""


class OperationList(Value):
    """Some operations, by name."""

    items: list[OperationInfo]


def declare(kernel: Kernel) -> Domain:
    """Return the domain."""
    domain = Domain("operations")
    schemas = _Schemas(kernel.registry)

    # The first one makes all schemas, 1 s of work: on a machine with ten times as much to do, that is over 10 s.
    @domain.query("operations.list", deadline=60)
    def list_operations(
        read: Snapshot,  # noqa: ARG001
        *,
        prefix: Annotated[str, Meta(max_length=200)] = "",
        with_schemas: bool = True,
    ) -> OperationList:
        """List the operations whose names begin with `prefix`, with their schemas unless told not to."""
        found = _prepared(kernel.registry, prefix)
        return OperationList(items=[_info(each, schemas if with_schemas else None) for each in found])

    return domain


def _prepared(registry: Registry, prefix: str) -> Iterator[Prepared]:
    for name in registry.names():
        if not name.startswith(prefix):
            continue
        try:
            prepared = registry.find(name)
        except Exception:  # noqa: BLE001 - a plugin's fault, which is in the log; the others are listed
            _log.exception("operation %s cannot be called, and is not listed", name)
            continue
        if prepared is not None:
            yield prepared


def _info(prepared: Prepared, schemas: _Schemas | None) -> OperationInfo:
    operation = prepared.operation
    input, output = (None, None) if schemas is None else schemas.of(operation.name)
    return OperationInfo(
        name=operation.name,
        kind=operation.kind,
        safety=operation.safety,
        person_only=operation.person_only,
        summary=prepared.summary,
        description=prepared.description,
        plugin=prepared.plugin,
        input=input,
        output=output,
    )


class _Schemas:
    """The schemas of a registry's operations, made when first asked for and again when operations came or went."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._model: Model | None = None
        self._again = False
        self._made: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the schemas of input and answer; empty ones, which allow anything, if they cannot be made."""
        with self._lock:
            if self._generation != self._registry.generation:
                self._renew()
                self._again = True
            found = self._made.get(name)
            if found is None:
                if self._again and (self._model is None or name not in self._model.operations):
                    self._renew()  # its plugin came while the model was made
                    self._again = False  # one that stays wrong is not tried for each operation
                found = self._made[name] = self._contained(name)
            return found

    def _renew(self) -> None:
        self._made.clear()
        self._generation = self._registry.generation
        from coder_local._contracts.schemas import Model  # noqa: PLC0415 - not before somebody asks for schemas

        self._model = None
        for left in reversed(range(_TRIES)):  # plugins may come and go on the loop meanwhile
            try:
                self._model = Model(self._registry)
            except Exception:  # noqa: BLE001 - a type that JSON does not have must not take the whole list away
                if not left:
                    _log.exception("the schemas of the operations cannot be made")
            else:
                return

    def _contained(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        from coder_local._contracts.mcp import contained  # noqa: PLC0415 - see _renew

        model = self._model
        if model is None or name not in model.operations:
            return {}, {}
        found = model.operations[name]
        return contained(found.input, model), contained(found.output, model)
