"""The operations as MCP tools, each with schemas that need nothing outside themselves."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any, cast

from coder_local._registry.registry import Registry
from coder_local.api import Kind, Operation, Safety

from .jsonschema import REF, Schema
from .schemas import Model, OperationSchema, reached, refs, resolved
from .shared import GENERATED, Document

NAME_LIMIT = 64
"""Characters of a tool's name that all clients take."""
_HASH = 8
_WORDY = {"description", "pattern", "minLength", "maxLength", "minimum", "maximum", "contentMediaType"}


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
    output = _bare(contained(operation.output, model, share=True))
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


def contained(schema: Schema, model: Model, *, share: bool = False) -> Schema:
    """Return a schema with what it points to put in place; only what holds itself stands under `$defs`.

    With `share` also what is pointed to more than once. Inputs go without, because not every client follows a `$ref`.
    """
    components = model.components
    used = reached(schema, components)
    places = Counter(refs([schema, *used.values()]))
    apart = {name for name in used if (share and places[name] > 1) or name in reached(used[name], components)}
    found: Schema = _inlined(resolved(schema, components), components, apart)
    if apart:
        found["$defs"] = {name: _inlined(components[name], components, apart) for name in sorted(apart)}
    return found


def _bare(node: Any) -> Any:
    """Return the schema of an answer with its structure alone: every word of a tool list costs an agent's attention."""
    if isinstance(node, list):
        return [_bare(part) for part in cast(list[object], node)]
    if not isinstance(node, dict):
        return node
    found: Schema = {}
    for word, value in cast(Schema, node).items():
        if word in {"properties", "$defs"}:
            found[word] = {name: _bare(part) for name, part in value.items()}
        elif word not in _WORDY:
            found[word] = _bare(value)
    return found


def _inlined(node: Any, components: dict[str, Schema], apart: set[str]) -> Any:
    if isinstance(node, list):
        return [_inlined(part, components, apart) for part in cast(list[object], node)]
    if not isinstance(node, dict):
        return node
    schema = cast(Schema, node)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        if name in apart:
            return {**schema, "$ref": f"#/$defs/{name}"}
        return _inlined(resolved(schema, components), components, apart)
    parts = {word: _inlined(value, components, apart) for word, value in schema.items()}
    if "anyOf" in parts:
        parts.pop("discriminator", None)  # OpenAPI's word, and it points to where there is nothing here
    return parts
