"""A JSON Schema of an operation's input as the options of a command, and their texts as JSON values.

Only what JSON needs is converted here. Whether a value is allowed the daemon says, for all fields at once.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, NamedTuple, cast

from . import members
from .coercions import coerced, refuse_span
from .errors import invalid
from .texts import json_of

Schema = dict[str, Any]

ENVELOPE = ("if_rev", "idempotency_key", "confirm")
"""What every operation that changes something takes beside its own fields."""

_DEPTH = 4
"""How deep members are looked at; a schema may hold itself."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Field(NamedTuple):
    """One field of an input."""

    name: str
    type: str
    """`string`, `integer`, `number`, `boolean`, `array`, `object`, or `any` for several of them."""
    required: bool
    nullable: bool
    schema: Schema
    """Its own part of the schema, references and null resolved."""
    element: Schema
    """Of a list: the part of its elements; else empty."""
    parts: tuple[Field, ...] = ()
    """The members of an object, or of each element of a list, as far as the schema names them."""

    @property
    def default(self) -> Any:
        """What the daemon takes when it is left out; None when that is nothing."""
        return self.schema.get("default")

    @property
    def choices(self) -> list[str]:
        """The words it may be, empty when it may be others."""
        return [str(choice) for choice in self.leaf.get("enum", ()) if choice is not None]

    @property
    def is_prose(self) -> bool:
        """Whether it is free text, which may come from a file."""
        return self.type == "string" and not {"enum", "const", "pattern", "format"} & self.schema.keys()

    @property
    def can_be_emptied(self) -> bool:
        """Whether leaving it out and emptying it are two things."""
        if self.required or self.type == "boolean" or not (self.nullable or self.type == "array"):
            return False
        return "default" not in self.schema or self.default not in (None, [])

    @property
    def leaf(self) -> Schema:
        """The part of one value: of a list, that of its elements."""
        return self.element if self.type == "array" else self.schema

    def limits(self) -> str:
        """Return its limits in words, empty when it has none."""
        leaf = self.leaf
        low, high = leaf.get("minimum", leaf.get("exclusiveMinimum")), leaf.get("maximum", leaf.get("exclusiveMaximum"))
        parts = [_range(low, high, "")] if (low, high) != (None, None) else []
        longest = leaf.get("maxLength")
        if longest is not None and longest < 100_000:  # the limit of every text says nothing about this one
            parts.append(_range(leaf.get("minLength"), longest, " characters"))
        return ", ".join(parts)


def _range(low: Any, high: Any, unit: str) -> str:
    if high is None:
        return f"at least {low}{unit}"
    return f"at most {high}{unit}" if low is None else f"{low} to {high}{unit}"


def fields(schema: Schema) -> list[Field]:
    """Return the fields of an input in the order of its schema, required ones first."""
    definitions = cast("dict[str, Schema]", schema.get("$defs") or {})
    return _properties(_resolved(schema, definitions), definitions, _DEPTH)


def _properties(whole: Schema, definitions: dict[str, Schema], depth: int) -> list[Field]:
    if depth == 0:
        return []
    required: list[str] = whole.get("required") or []
    properties = cast("dict[str, Schema]", whole.get("properties") or {})
    found = [_field(name, part, definitions, depth, required=name in required) for name, part in properties.items()]
    return sorted(found, key=lambda field: not field.required)


def _field(name: str, part: Schema, definitions: dict[str, Schema], depth: int, *, required: bool) -> Field:
    own, nullable = _without_null(_resolved(part, definitions), definitions)
    kind = _type(own)
    element: Schema = {}
    if kind == "array" and isinstance(own.get("items"), dict):
        element, _ = _without_null(_resolved(cast("Schema", own["items"]), definitions), definitions)
    parts = _properties(element if kind == "array" else own, definitions, depth - 1)
    return Field(name, kind, required, nullable, own, element, tuple(parts))


def _resolved(part: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follow references; what stands beside one, such as a description, wins."""
    seen: set[str] = set()
    while isinstance(reference := part.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        beside = {key: value for key, value in part.items() if key not in {"$ref", "$defs"}}
        part = {**definitions.get(reference.rpartition("/")[2], {}), **beside}
    return part


def _without_null(part: Schema, definitions: dict[str, Schema]) -> tuple[Schema, bool]:
    """Return the schema of what it is when it is not null, and whether it may be null."""
    alternatives = cast("list[Schema] | None", part.get("anyOf") or part.get("oneOf"))
    if alternatives:
        others = [_resolved(each, definitions) for each in alternatives]
        rest = [each for each in others if each.get("type") != "null"]
        beside = {key: value for key, value in part.items() if key not in {"anyOf", "oneOf"}}
        whole = {**rest[0], **beside} if len(rest) == 1 else {**beside, "anyOf": rest}
        return whole, len(rest) < len(others)
    types = part.get("type")
    if isinstance(types, list):
        rest_types = [each for each in cast("list[str]", types) if each != "null"]
        return {**part, "type": rest_types[0] if len(rest_types) == 1 else rest_types}, "null" in types
    return part, None in part.get("enum", ())


def _type(part: Schema) -> str:
    kind = part.get("type")
    if isinstance(kind, str):
        return kind
    values = part.get("enum") or ([part["const"]] if "const" in part else [])
    return "string" if values and all(isinstance(value, str | None) for value in values) else "any"


def value_of(field: Field, text: str) -> Any:
    """Return the JSON value that a text stands for. Raises `Failure` only for what must be JSON and is not."""
    if field.type == "array":
        if text.startswith("[") and _type(field.element) != "string":
            return _json(field, text)
        return [_scalar(field, _type(field.element), text)]
    return _scalar(field, field.type, text)


def _scalar(field: Field, kind: str, text: str) -> Any:
    match kind:
        case "integer" | "number" if _INTEGER.fullmatch(text):
            return int(text)
        case "number" if _NUMBER.fullmatch(text) and isfinite(number := float(text)):
            return number
        case "boolean" if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        case "object" if (only := members.alone(field)) and not text.lstrip().startswith(("{", "[")):
            return {only.name: _scalar(only, only.type, text)}
        case "object" | "array":
            return _json(field, text)
        case "any":
            return _json_or_text(text)
        case "integer":
            refuse_span(field.name, text)
            return text
        case "string":
            return coerced(field.leaf.get("format"), field.name, text)
        case _:
            return text  # the daemon tells what is wrong with it, together with all the other faults


_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def _json(field: Field, text: str) -> Any:
    try:
        return json_of(text)
    except ValueError as fault:
        raise invalid(
            f"{field.name} is JSON, and this is not: {fault}",
            field=f"/{field.name}",
            hint=members.hint(field),
        ) from None


def _json_or_text(text: str) -> Any:
    try:
        return json_of(text)
    except ValueError:
        return text
