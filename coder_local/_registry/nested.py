"""Unknown fields inside the values of an input, which msgspec would drop without a word.

The types themselves cannot forbid them: the same type reads stored data, where a newer program may have added a field.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from coder_local.api import Fault

from .nearest import did_you_mean

Look = Callable[[Any, str], Iterator[Fault]]
"""Yields the faults of one plain value at a JSON pointer."""
_LISTS: frozenset[Any] = frozenset((list, tuple, set, frozenset))


def looker(annotation: Any) -> Look | None:
    """Return what finds unknown fields in plain values of a type, or None if the type has no place for them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return looker(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        # Only the one that is a value of fields; msgspec allows no second one without a tag.
        found = [look for part in get_args(annotation) if (look := looker(part)) is not None]
        return found[0] if len(found) == 1 else None
    if origin in _LISTS:
        inner = looker(get_args(annotation)[0])
        return None if inner is None else _each(inner)
    if origin is dict:
        inner = looker(get_args(annotation)[1])
        return None if inner is None else _members(inner)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _fields(annotation)
    return None


def _each(inner: Look) -> Look:
    def look(value: Any, pointer: str) -> Iterator[Fault]:
        if isinstance(value, list):
            for index, part in enumerate(cast("Sequence[Any]", value)):
                yield from inner(part, f"{pointer}/{index}")

    return look


def _members(inner: Look) -> Look:
    def look(value: Any, pointer: str) -> Iterator[Fault]:
        if isinstance(value, dict):
            for name, part in cast("Mapping[str, Any]", value).items():
                yield from inner(part, f"{pointer}/{name}")

    return look


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> Look:
    @functools.cache
    def inside() -> dict[str, Look | None]:
        """Return what looks into each field; only when asked, since a type may hold itself."""
        known = {field.encode_name: looker(field.type) for field in msgspec.structs.fields(struct)}
        if tag := struct.__struct_config__.tag_field:
            known[tag] = None
        return known

    def look(value: Any, pointer: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            return
        known = inside()
        for name, part in cast("Mapping[str, Any]", value).items():
            if name not in known:
                hint = did_you_mean(name, known, "it has " + ", ".join(known))
                yield Fault(f"{pointer}/{name}", f"there is no field {name!r}", hint)
            elif (inner := known[name]) is not None:
                yield from inner(part, f"{pointer}/{name}")

    return look
