"""Fields that are objects: their members in words, as options of their own, and from a plain text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .schema import Field

_METAVARS = {"string": "TEXT", "integer": "N", "number": "NUMBER", "object": "JSON", "array": "JSON", "any": "VALUE"}
_FORMATS = {"date": "YYYY-MM-DD", "date-time": "TIME", "duration": "DURATION", "path": "PATH"}
_EXAMPLES = {"date": "2026-01-31", "date-time": "2026-01-31T12:00:00Z", "duration": "PT1H", "path": "/home/me/file"}
_SCALARS = ("string", "integer", "number")
_SHORT_CHOICE = 40
_EXAMPLE_NUMBER = 60


def metavar(field: Field) -> str:
    """Return the word that stands for a field's value, or for one element of a list."""
    if field.choices and len(text := ",".join(field.choices)) <= _SHORT_CHOICE:
        return f"{{{text}}}"
    if alone(field):
        return "TEXT" if field.type == "array" else "JSON"
    leaf = field.element if field.type == "array" else field.schema
    kind = leaf.get("type") if field.type == "array" else field.type
    return _FORMATS.get(str(leaf.get("format")), _METAVARS.get(str(kind), "VALUE"))


def has_long_choice(field: Field) -> bool:
    """Tell whether a field's words are too many for `metavar`."""
    return bool(field.choices) and len(",".join(field.choices)) > _SHORT_CHOICE


def alone(field: Field) -> Field | None:
    """Return the member that a plain text can stand for: the only required one, if it is a text or a number."""
    required = [part for part in field.parts if part.required]
    return required[0] if len(required) == 1 and required[0].type in _SCALARS else None


def words(field: Field) -> str:
    """Return the members of a field with their types; empty when it has none that are known."""
    return ", ".join(f"{_word(part)}{' (required)' if part.required else ''}" for part in field.parts)


def _word(part: Field) -> str:
    kind = f"{{{words(part)}}}" if part.parts else "yes|no" if part.type == "boolean" else _kind(part)
    return f"{part.name} {f'[{kind}, ...]' if part.type == 'array' else kind}"


def _kind(part: Field) -> str:
    return "|".join(part.choices) or metavar(part)


def remarks(field: Field, option: str) -> list[str]:
    """Return what the help of a field says of its members, and of the ways to give them."""
    if not field.parts:
        return []
    told = [f"members: {words(field)}"]
    if only := alone(field):
        told.append(f"a plain value is its {only.name}")
    if field.type == "object":
        told.append(f"also one by one: {option}.{_dashed(field.parts[0].name)} {metavar(field.parts[0])}")
    return told


def hint(field: Field) -> str:
    """Return how to write a field's JSON: its members and an example."""
    if not field.parts:
        return "quote it for the shell, or give @FILE"
    return f"its members are {words(field)}; for example '{json.dumps(_example(field), ensure_ascii=False)}', or @FILE"


def _example(field: Field) -> Any:
    """Return a value that has the shape, with the required members or the first one."""
    if field.parts:
        shown = [part for part in field.parts if part.required] or field.parts[:1]
        return {part.name: [_example(part)] if part.type == "array" else _example(part) for part in shown}
    if field.choices:
        return field.choices[0]
    leaf = field.element if field.type == "array" else field.schema
    kind = str(leaf.get("type"))
    by_kind: dict[str, Any] = {"integer": _EXAMPLE_NUMBER, "number": _EXAMPLE_NUMBER, "boolean": True, "object": {}}
    return _EXAMPLES.get(str(leaf.get("format"))) or by_kind.get(kind, "...")


def dotted(field: Field) -> Iterator[tuple[str, Field]]:
    """Yield the members of an object, and theirs, with their paths: `estimate.likely`."""
    if field.type != "object":
        return
    for part in field.parts:
        path = f"{field.name}.{part.name}"
        yield path, part
        yield from ((f"{field.name}.{below}", deeper) for below, deeper in dotted(part))


def find(own_fields: Iterable[Field], path: str) -> Field | None:
    """Return the member at a path."""
    return next((part for field in own_fields for name, part in dotted(field) if name == path), None)


def put(whole: dict[str, Any], path: str, value: Any) -> bool:
    """Set the member at a path, making the objects around it; return False where something else is in the way."""
    first, *rest = path.split(".")
    if not rest:
        is_free = first not in whole
        whole.setdefault(first, value)
        return is_free
    inner = whole.setdefault(first, {})
    return isinstance(inner, dict) and put(inner, ".".join(rest), value)  # pyright: ignore[reportUnknownArgumentType]


def _dashed(name: str) -> str:
    return name.replace("_", "-")
