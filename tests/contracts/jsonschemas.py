"""The part of JSON Schema that the contracts use: values made from it, and values held against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from hypothesis import strategies as st

_DURATIONS = st.sampled_from(["PT15M", "P1D", "P2W", "PT1H30M", "P1DT2H", "PT0.5S"])
_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_FORMATS = {
    "date-time": st.datetimes(timezones=st.just(UTC)).filter(lambda at: at.year >= 1000).map(lambda at: at.isoformat()),
    "date": st.dates().map(lambda day: day.isoformat()),
    "duration": _DURATIONS,
}
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(_TEXT, max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(_TEXT, max_size=5), inner, max_size=2),
    max_leaves=4,
)


def values(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a schema describes."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return st.deferred(lambda: values(root["$defs"][name], root))
    if "anyOf" in schema:
        # Ends first: what holds itself must be able to stop.
        options = sorted(schema["anyOf"], key=lambda option: option.get("type") != "null")
        return st.one_of([values(option, root) for option in options])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", -(2**53)), schema.get("maximum", 2**53))
        case "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            return st.floats(
                low,
                schema.get("maximum"),
                exclude_min="exclusiveMinimum" in schema,
                allow_nan=False,
                allow_infinity=False,
            )
        case "string":
            return _text(schema)
        case "array":
            return _array(schema, root)
        case "object":
            return _object(schema, root)
        case _:
            return _ANYTHING


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    low, high = schema.get("minLength", 0), min(schema.get("maxLength", 40), 40)
    if "pattern" in schema:
        # `$` also stands before a line's end in Python: not in the dialect that JSON Schema means.
        made = st.from_regex(schema["pattern"].removesuffix("$") + r"\Z", alphabet=_TEXT)
        return made.filter(lambda text: low <= len(text) <= schema.get("maxLength", 10**6))
    return st.text(_TEXT, min_size=low, max_size=high)


def _array(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    if "prefixItems" in schema:
        return st.tuples(*(values(item, root) for item in schema["prefixItems"])).map(list)
    low = schema.get("minItems", 0)
    high = min(schema.get("maxItems", 3), 3)
    return st.lists(
        values(schema.get("items", {}), root), min_size=low, max_size=high, unique=schema.get("uniqueItems", False)
    )


def _object(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        free = schema.get("additionalProperties")
        inner = values(free, root) if isinstance(free, dict) else _ANYTHING
        return st.dictionaries(st.text(_TEXT, max_size=8), inner, max_size=2)
    made = {name: values(part, root) for name, part in schema["properties"].items()}
    required = {name: made.pop(name) for name in schema["required"]}
    return st.fixed_dictionaries(required, optional=made)


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], place: str = "") -> Iterator[str]:
    """Yield where a value is not what a schema describes."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        found = [list(faults(value, option, root, place)) for option in schema["anyOf"]]
        yield from min(found, key=len)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{place}: {value!r} is no {schema['type']}"
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{place}: {value!r} does not fit {schema['pattern']}"
    elif isinstance(value, list):
        parts = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        for number, (part, inner) in enumerate(zip(value, parts, strict=True)):
            yield from faults(part, inner, root, f"{place}/{number}")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        free = schema.get("additionalProperties")
        yield from (f"{place}/{name} is missing" for name in schema.get("required", []) if name not in value)
        for name, part in value.items():
            inner = known.get(name, free if isinstance(free, dict) else {})
            if name not in known and "properties" in schema:
                yield f"{place}/{name} is not described"
            yield from faults(part, inner, root, f"{place}/{name}")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds = {"null": type(None), "integer": int, "number": (int, float), "string": str, "array": list, "object": dict}
    return isinstance(value, kinds.get(kind, ()))
