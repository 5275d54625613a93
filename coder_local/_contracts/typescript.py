"""The generated half of the TypeScript client: types of all that is sent, and a function for each operation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from coder_local._registry.registry import Registry
from coder_local.api import DeclarationError, Kind

from .names import input_name
from .schemas import Model, OperationSchema, reached
from .shared import GENERATED
from .tstypes import WIDTH, Types, tsdoc

_OPTIONS = {
    Kind.QUERY: "CallOptions",
    Kind.COMMAND: "CommandOptions",
    Kind.ACTION: "ActionOptions",
    Kind.STREAM: "StreamOptions",
}
_TAKEN_DOMAINS = frozenset({"call", "stream", "request", "server", "state", "close", "constructor"})
_TAKEN_NAMES = frozenset({"events.subscribe", "events.connected", "events.notified", "events.closed"})
_CLOSING = """\
/** Build the nested functions over what carries them out. */
export function buildApi(invoke: Invoke): Api {
  return nest<Api>(operationKinds, invoke);
}"""


class _Node(NamedTuple):
    """One word of the operations' names: what it is itself, and the words behind it."""

    operation: OperationSchema | None
    below: dict[str, _Node]


def build(registry: Registry, model: Model | None = None) -> str:
    """Return the file. Raises `DeclarationError` for a name that would hide a member of the client."""
    model = model or Model(registry)
    _refuse_hiding(model)
    types = Types(model)
    operations = list(model.operations.values())
    blocks = [
        *_enums(model),
        *_interfaces(model, types),
        _events(model, types),
        _operations(operations, types),
        _api(operations, types),
        _kinds(operations),
        _CLOSING,
    ]
    head = f'// {GENERATED}\nimport {{ nest }} from "../nest.js";\n{_imports(types.imported)}'
    return "\n\n".join([head, *blocks]) + "\n"


def _refuse_hiding(model: Model) -> None:
    for name in model.operations:
        if name in _TAKEN_NAMES or name.split(".", 1)[0] in _TAKEN_DOMAINS:
            raise DeclarationError(f"{name} would hide a member of the TypeScript client: give it another name")


def _imports(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    line = f'import type {{ {listed} }} from "../types.js";'
    if len(line) <= WIDTH:
        return line
    filled = textwrap.fill(f"{listed},", WIDTH, initial_indent="  ", subsequent_indent="  ")
    return f'import type {{\n{filled}\n}} from "../types.js";'


def _used(model: Model) -> list[str]:
    """Return the components that operations and events lead to, but for those that the hand-written part has."""
    roots = [[each.input, each.output] for each in model.operations.values()]
    found = reached([roots, [event.data for event in model.events.values()]], model.components)
    return [name for name in found if name != "RecordChanged" and name not in model.pages]


def _enums(model: Model) -> Iterator[str]:
    types = Types(model)
    for name in _used(model):
        schema = model.components[name]
        if "enum" in schema:
            doc = tsdoc(schema.get("description", ""))
            yield "\n".join([*doc, f"export type {name} = {types.type(schema, answer=False)};"])


def _interfaces(model: Model, types: Types) -> list[str]:
    blocks = {name: _component(name, model, types) for name in _used(model) if "enum" not in model.components[name]}
    for operation in model.operations.values():
        if own := operation.own:
            name = input_name(operation.operation.name)
            doc = f"Input of `{operation.operation.name}`."
            blocks[name] = _interface(name, doc, types.members(own, operation.required, answer=False))
    return [text for _, text in sorted(blocks.items())]


def _component(name: str, model: Model, types: Types) -> str:
    schema = model.components[name]
    answer = name not in model.taken
    doc = schema.get("description", "")
    if "properties" not in schema:
        return "\n".join([*tsdoc(doc), f"export type {name} = {types.type(schema, answer=answer)};"])
    return _interface(name, doc, types.members(schema["properties"], schema["required"], answer=answer))


def _interface(name: str, doc: str, members: Iterable[str]) -> str:
    lines = list(members)
    body = [f"export interface {name} {{", *lines, "}"] if lines else [f"export interface {name} {{}}"]
    return "\n".join([*tsdoc(doc), *body])


def _events(model: Model, types: Types) -> str:
    members = [f'  "{name}": {types.type(event.data, answer=True)};' for name, event in sorted(model.events.items())]
    return _interface("Events", "Data of each event type.", members)


def _operations(operations: Iterable[OperationSchema], types: Types) -> str:
    members: list[str] = []
    for each in operations:
        declared = each.operation
        taken, answered = _input(each, types), types.type(each.output, answer=True)
        words = f'kind: "{declared.kind}"; safety: "{declared.safety}"; input: {taken}; output: {answered}'
        members.append(f'  "{declared.name}": {{ {words} }};')
    return _interface("Operations", "What each operation is, takes and answers.", members)


def _input(operation: OperationSchema, types: Types) -> str:
    return input_name(operation.operation.name) if operation.own else types.use("NoInput")


def _api(operations: Iterable[OperationSchema], types: Types) -> str:
    root = _Node(None, {})
    for operation in operations:
        node = root
        *parents, verb = operation.operation.name.split(".")
        for word in parents:
            node = node.below.setdefault(word, _Node(None, {}))
        node.below[verb] = _Node(operation, node.below[verb].below if verb in node.below else {})
    doc = "The operations as nested functions, `client.<operation>(input, options)`."
    return _interface("Api", doc, _members(root, types, "  "))


def _members(node: _Node, types: Types, indent: str) -> Iterator[str]:
    for word, child in sorted(node.below.items(), key=lambda item: (bool(item[1].below), item[0])):
        if child.operation is not None and not child.below:
            yield from _function(word, child.operation, types, indent)
            continue
        yield f"{indent}{word}: {{"
        if child.operation is not None:
            yield from _function("", child.operation, types, f"{indent}  ")
        yield from _members(child, types, f"{indent}  ")
        yield f"{indent}}};"


def _function(word: str, operation: OperationSchema, types: Types, indent: str) -> Iterator[str]:
    yield from tsdoc(operation.prepared.description, indent)
    kind = operation.operation.kind
    mark = "" if set(operation.required) & set(operation.own) else "?"
    answer = types.type(operation.output, answer=True)
    back = f"AsyncGenerator<{answer}, void>" if kind is Kind.STREAM else f"Promise<{answer}>"
    options = types.use(_OPTIONS[kind])
    yield f"{indent}{word}(input{mark}: {_input(operation, types)}, options?: {options}): {back};"


def _kinds(operations: Iterable[OperationSchema]) -> str:
    lines = "".join(f'  "{each.operation.name}": "{each.operation.kind}",\n' for each in operations)
    body = f"{{\n{lines}}}" if lines else "{}"
    tail = 'as const satisfies { [Name in keyof Operations]: Operations[Name]["kind"] };'
    return f"/** Every operation with its kind. */\nexport const operationKinds = {body} {tail}"
