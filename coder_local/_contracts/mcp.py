"""The operations as MCP tools, each with schemas that need nothing outside themselves."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from coder_local._registry.registry import Registry
from coder_local.api import Kind, Operation, Safety

from .jsonschema import REF, Schema
from .schemas import Model, OperationSchema, reached, resolved
from .shared import GENERATED, Document

NAME_LIMIT = 64
"""Characters of a tool's name that all clients take."""
_HASH = 8


def build(registry: Registry, model: Model | None = None) -> Document:
    """Return the list of tools as `tools/list` answers it."""
    model = model or Model(registry)
    names = tool_names(model.operations)
    return {
        "x-generated-by": GENERATED,
        "tools": [_tool(names[name], operation, model) for name, operation in model.operations.items()],
    }


def tool_names(operations: Any) -> dict[str, str]:
    """Return the tool name of each operation: its dots as underscores.

    One that is too long, or that another operation has too, ends in a hash of the wire name.
    """
    plain = {name: name.replace(".", "_") for name in sorted(operations)}
    seen = list(plain.values())
    return {
        name: tool if len(tool) <= NAME_LIMIT and seen.count(tool) == 1 else _hashed(name, tool)
        for name, tool in plain.items()
    }


def _hashed(name: str, tool: str) -> str:
    return f"{tool[: NAME_LIMIT - _HASH - 1]}_{hashlib.sha256(name.encode()).hexdigest()[:_HASH]}"


def _tool(tool: str, operation: OperationSchema, model: Model) -> Document:
    declared = operation.operation
    domain, *words = declared.name.replace("_", " ").split(".")
    found: Document = {
        "name": tool,
        "title": f"{domain.capitalize()}: {' '.join(words)}",
        "description": operation.prepared.description,
        "inputSchema": contained(operation.input, model),
    }
    output = contained(operation.output, model)
    # The protocol takes objects only; other answers go as text.
    if declared.kind is not Kind.STREAM and output.get("type") == "object":
        found["outputSchema"] = output
    found["annotations"] = _annotations(declared)
    meta: Document = {"operation": declared.name, "safety": str(declared.safety)}
    return {**found, "_meta": {**meta, "person_only": True} if declared.person_only else meta}


def _annotations(operation: Operation) -> Document:
    """Return the hints that a safety word gives. What leaves the machine is called destructive: no undo reaches it."""
    safety = operation.safety
    again = operation.standard is not None and operation.standard.verb in {"update", "delete"}
    return {
        "readOnlyHint": safety is Safety.READ,
        "destructiveHint": safety in {Safety.DESTRUCTIVE, Safety.EXTERNAL},
        "idempotentHint": safety is Safety.READ or again,
        "openWorldHint": safety is Safety.EXTERNAL,
    }


def contained(schema: Schema, model: Model) -> Schema:
    """Return a schema with what it points to put in place; only what holds itself stands under `$defs`."""
    components = model.components
    loops = {name for name in reached(schema, components) if name in reached(components[name], components)}
    found: Schema = _inlined(resolved(schema, components) if "$ref" in schema else schema, components, loops)
    if used := {name for name in loops if name in reached(schema, components)}:
        found["$defs"] = {name: _inlined(components[name], components, loops) for name in sorted(used)}
    return found


def _inlined(node: Any, components: dict[str, Schema], loops: set[str]) -> Any:
    if isinstance(node, list):
        return [_inlined(part, components, loops) for part in cast(list[object], node)]
    if not isinstance(node, dict):
        return node
    schema = cast(Schema, node)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        if name in loops:
            return {**schema, "$ref": f"#/$defs/{name}"}
        return _inlined(resolved(schema, components), components, loops)
    # `discriminator` is OpenAPI's word, and points to where there is nothing here.
    return {word: _inlined(value, components, loops) for word, value in schema.items() if word != "discriminator"}
