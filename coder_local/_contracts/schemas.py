"""The schemas of all that a registry takes, answers and says, from which every document is made."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple, cast, get_args

import msgspec
from msgspec import inspect as mi

from coder_local._registry.registry import Prepared, Registry
from coder_local.api import Event, Kind, Operation

from . import docs, names
from .jsonschema import REF, Maker, Schema, put_default

_log = logging.getLogger("coder_local.contracts")


class RecordChanged(msgspec.Struct):
    """One record was written. Ids and names of fields only: read the record to see its values."""

    id: str
    rev: int
    """The record's `rev` after the change."""
    changed: list[str]
    """Names of the changed fields; empty for a new record."""


class OperationSchema(NamedTuple):
    """What one operation takes and answers."""

    prepared: Prepared
    input: Schema
    """An object; `if_rev` and the like, where it takes them, stand last."""
    output: Schema
    """Of a stream, the schema of one item."""
    emits: list[str]
    """Types of the events that it declares to emit, sorted."""

    @property
    def operation(self) -> Operation:
        """The operation as it was declared."""
        return self.prepared.operation

    @property
    def envelope(self) -> tuple[str, ...]:
        """The fields of the input that HTTP sends as headers and the TypeScript client as options."""
        return self.prepared.signature.envelope

    @property
    def own(self) -> dict[str, Schema]:
        """The fields of the input that are the operation's own."""
        properties: dict[str, Schema] = self.input["properties"]
        return {name: schema for name, schema in properties.items() if name not in self.envelope}

    @property
    def required(self) -> list[str]:
        """The fields of the input that must be given."""
        found: list[str] = self.input["required"]
        return found


class EventSchema(NamedTuple):
    """What one type of event says."""

    description: str
    data: Schema
    record: str
    """Wire word of the record that says it by itself; "" for a declared event."""


class Model:
    """The schemas of a registry, made once for all documents."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.left_out: dict[str, str] = {}
        """Operations whose types cannot be read, with the reason."""
        prepared = list(self._sound())
        self._types = {event: name for name, event in registry.events().items() if event is not None}
        inputs = {names.input_name(each.operation.name) for each in prepared}
        self._maker = Maker(
            _taken(prepared, registry), _answered(prepared, registry), names.domain_words(registry), inputs
        )
        self.operations = {each.operation.name: self._operation(each) for each in prepared}
        self.events = {name: self._event(name, event) for name, event in registry.events().items()}
        self.settings = {
            plugin: self._maker.schema(settings, taken=True) for plugin, settings in registry.settings_types().items()
        }
        self.components: dict[str, Schema] = dict(sorted(self._maker.components.items()))
        self.taken: set[str] = self._maker.taken
        """Names of the components that are only ever taken, never answered."""
        self.pages: dict[str, Schema] = self._maker.pages
        """The schema of an item of each component that is a page of a list."""

    def _sound(self) -> Iterator[Prepared]:
        """Yield the operations whose types can be read: one bad declaration must not take the others away."""
        for name in self.registry.names():
            try:
                prepared = self.registry.find(name)
                if prepared is not None:
                    mi.multi_type_info([*_taken_by(prepared), answer_of(prepared)])
                    yield prepared
            except Exception as error:  # noqa: BLE001 - of a stranger's plugin
                self.left_out[name] = str(error)
                _log.warning("%s is left out of the contracts: %s", name, error)

    def _operation(self, prepared: Prepared) -> OperationSchema:
        standard = prepared.operation.standard
        documented: dict[str, str] = {}
        if standard is not None:
            word = self.registry.tables.of(standard.record).declaration.word.replace("_", " ")
            documented = {**docs.of_fields(standard.record), "id": f"Id of the {word}."}
        properties: dict[str, Schema] = {}
        fields = msgspec.structs.fields(prepared.signature.struct)
        for field in fields:
            schema = properties[field.name] = self._maker.schema(field.type, taken=True)
            if field.name in documented:
                schema.setdefault("description", documented[field.name])
            put_default(schema, field.default, field.default_factory)
        required = [field.name for field in fields if field.required]
        input: Schema = {"type": "object", "properties": properties, "required": required}
        input["additionalProperties"] = False
        output = self._maker.schema(answer_of(prepared), taken=False)
        return OperationSchema(prepared, input, output, self._emitted(prepared))

    def _event(self, name: str, event: type[Event] | None) -> EventSchema:
        if event is not None:
            return EventSchema(inspect.getdoc(event) or "", self._maker.schema(event, taken=False), "")
        kind, _, verb = name.rpartition(".")
        word = kind.rpartition(".")[2].replace("_", " ")
        article = "An" if word[0] in "aeiou" else "A"
        return EventSchema(f"{article} {word} was {verb}.", self._maker.schema(RecordChanged, taken=False), kind)

    def _emitted(self, prepared: Prepared) -> list[str]:
        operation = prepared.operation
        if operation.standard is not None:
            past = {"create": "created", "update": "updated", "delete": "deleted"}.get(operation.standard.verb)
            kind = self.registry.tables.of(operation.standard.record).kind
            return [f"{kind}.{past}"] if past else []
        return sorted(self._types[event] for event in operation.emits if event in self._types)


def answer_of(prepared: Prepared) -> Any:
    """Return the type of an operation's answer; of a stream, of one item."""
    result = prepared.signature.result
    if prepared.operation.kind is Kind.STREAM and get_args(result):
        return get_args(result)[0]
    return result


def resolved(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return a schema with its own `$ref`, if any, followed; words beside the `$ref` win."""
    while "$ref" in schema:
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        schema = {**components[schema["$ref"].removeprefix(REF)], **beside}
    return schema


def reached(roots: Any, components: dict[str, Schema]) -> dict[str, Schema]:
    """Return the components that some schemas lead to, by name."""
    found: dict[str, Schema] = {}
    waiting = list(refs(roots))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = components[name]
            waiting += refs(components[name])
    return dict(sorted(found.items()))


def refs(node: Any) -> Iterator[str]:
    """Yield the names of the components that a document points to."""
    if isinstance(node, dict):
        words = cast(Schema, node)
        if str(words.get("$ref", "")).startswith(REF):
            yield words["$ref"].removeprefix(REF)
        parts: list[object] = list(words.values())
    else:
        parts = cast(list[object], node) if isinstance(node, list) else []
    for part in parts:
        yield from refs(part)


def _taken(prepared: list[Prepared], registry: Registry) -> list[Any]:
    return [*(part for each in prepared for part in _taken_by(each)), *registry.settings_types().values()]


def _taken_by(prepared: Prepared) -> list[Any]:
    return [field.type for field in msgspec.structs.fields(prepared.signature.struct)]


def _answered(prepared: list[Prepared], registry: Registry) -> list[Any]:
    events = [event for event in registry.events().values() if event is not None]
    return [*map(answer_of, prepared), *events, RecordChanged]
