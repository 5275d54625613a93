"""Whether a schema takes less than it did, or answers less than it did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .jsonschema import Schema
from .schemas import resolved

Components = dict[str, Schema]
_LOW = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_HIGH = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FREE = {"minLength": 0, "minItems": 0, "minProperties": 0}
_WIDER = {"number": {"integer"}}
"""Types that take other types too."""


class Comparison:
    """Compares schemas of two versions of the contracts."""

    def __init__(self, old: Components, new: Components) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str, str]] = set()

    # -- what is taken ------------------------------------------------------------------------------------------------

    def narrowed(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        """Yield each way in which the new schema refuses what the old one took."""
        if self._known("narrowed", old, new):
            return
        candidates = self._options(new, self._new)
        for option in self._options(old, self._old):
            fits = [each for each in candidates if _takes(each, option)]
            if not fits:
                yield f"{place} no longer takes {_word(option)}"
                continue
            faults = [list(self._narrowed_option(option, each, place)) for each in fits]
            yield from min(faults, key=len)

    def _narrowed_option(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        yield from _lost_words(old, new, place)
        for word in (*_LOW, *_HIGH):
            before, now = old.get(word, _FREE.get(word)), new.get(word)
            if now is not None and (before is None or (now > before if word in _LOW else now < before)):
                yield f"{place}: {word} is {now}, it was {'free' if before is None else before}"
        if new.get("pattern") not in {None, old.get("pattern")}:
            yield f"{place}: pattern is {new['pattern']!r}, it was {old.get('pattern') or 'free'!r}"
        if new.get("uniqueItems") and not old.get("uniqueItems"):
            yield f"{place}: items must be unique"
        yield from self._narrowed_object(old, new, place)
        for before, now in _inner(old, new):
            yield from self.narrowed(before, now, f"{place}/*")

    def _narrowed_object(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name in now:
                yield from self.narrowed(before[name], now[name], f"{place}/{name}")
            elif "properties" in new or new.get("additionalProperties") is False:
                yield f"{place}/{name} is no longer taken"
        for name in new.get("required", []):
            if name not in old.get("required", []):
                yield f"{place}/{name} must be given now"

    # -- what is answered ---------------------------------------------------------------------------------------------

    def lost(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        """Yield each way in which the new schema answers what a reader of the old one does not expect."""
        if self._known("lost", old, new):
            return
        expected = self._options(old, self._old)
        for option in self._options(new, self._new):
            fits = [each for each in expected if _takes(each, option)]
            if not fits:
                yield f"{place} may be {_word(option)} now"
                continue
            faults = [list(self._lost_option(each, option, place)) for each in fits]
            yield from min(faults, key=len)

    def _lost_option(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in now:
                yield f"{place}/{name} is gone"
                continue
            if name in old.get("required", []) and name not in new.get("required", []):
                yield f"{place}/{name} may be missing now"
            yield from self.lost(before[name], now[name], f"{place}/{name}")
        for each, other in _inner(old, new):
            yield from self.lost(each, other, f"{place}/*")

    # -- both ---------------------------------------------------------------------------------------------------------

    def _known(self, question: str, old: Schema, new: Schema) -> bool:
        """Tell whether two components are being compared already: a type may hold itself, or be held in many places."""
        if "$ref" not in old or "$ref" not in new:
            return False
        key = (question, old["$ref"], new["$ref"])
        known = key in self._seen
        self._seen.add(key)
        return known

    def _options(self, schema: Schema, components: Components) -> list[Schema]:
        schema = resolved(schema, components)
        if "anyOf" not in schema:
            return [schema]
        return [option for part in schema["anyOf"] for option in self._options(part, components)]


def _takes(wide: Schema, narrow: Schema) -> bool:
    """Tell whether a schema's type, and its tag if it has one, takes the other's."""
    kind, other = _kind(wide), _kind(narrow)
    if kind is None:
        return True
    if kind != other and other not in _WIDER.get(kind, set()):
        return False
    tags, other_tags = _tags(wide), _tags(narrow)
    return all(tags.get(name, words) == words for name, words in other_tags.items())


def _kind(schema: Schema) -> str | None:
    """Return the JSON type, None for any."""
    if "type" in schema or "enum" not in schema:
        return schema.get("type")
    kinds: dict[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    first: Any = schema["enum"][0]
    return kinds.get(type(first))


def _tags(schema: Schema) -> dict[str, list[Any]]:
    """Return the fields that tell one member of a union from another: required, and of one word."""
    required = schema.get("required", [])
    properties: dict[str, Schema] = schema.get("properties", {})
    return {
        name: part["enum"] for name, part in properties.items() if name in required and len(part.get("enum", ())) == 1
    }


def _lost_words(old: Schema, new: Schema, place: str) -> Iterator[str]:
    if "enum" not in new:
        return
    if "enum" not in old:
        yield f"{place} takes only {', '.join(map(repr, new['enum']))} now"
        return
    for value in old["enum"]:
        if value not in new["enum"]:
            yield f"{place} no longer takes {value!r}"


def _inner(old: Schema, new: Schema) -> Iterator[tuple[Schema, Schema]]:
    """Yield the schemas of items and of free properties that stand at the same place."""
    if _kind(old) == "array":
        before, now = old.get("prefixItems", []), new.get("prefixItems", [])
        yield from zip(before, now, strict=False)
        if not before and not now:
            yield old.get("items", {}), new.get("items", {})
    if _kind(old) == "object":
        before, now = old.get("additionalProperties"), new.get("additionalProperties")
        if isinstance(before, dict) or isinstance(now, dict):
            free: Schema = {}
            yield before if isinstance(before, dict) else free, now if isinstance(now, dict) else free


def _word(schema: Schema) -> str:
    return _kind(schema) or "anything"
