"""Which named types some types are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import inspect as mi

NAMED = (mi.StructType, mi.TypedDictType, mi.DataclassType, mi.NamedTupleType, mi.EnumType)
"""What gets a schema of its own that others point to."""


class Graph:
    """The named types that some roots lead to, and which of them holds which."""

    def __init__(self) -> None:
        self.classes: dict[Any, mi.Type] = {}
        self._parts: dict[Any, set[Any]] = {}

    def add(self, roots: Iterable[Any]) -> set[Any]:
        """Take in some types and return all named types that they lead to."""
        return self._reach({cls for info in mi.multi_type_info(roots) for cls in self._collect(info)})

    def holders(self, wanted: set[Any]) -> set[Any]:
        """Return the wanted types and all that hold one of them, however deep."""
        found: set[Any] = set()
        grown = set(wanted)
        while grown:
            found |= grown
            grown = {cls for cls, parts in self._parts.items() if parts & grown} - found
        return found

    def _reach(self, start: set[Any]) -> set[Any]:
        seen: set[Any] = set()
        waiting = list(start)
        while waiting:
            cls = waiting.pop()
            if cls not in seen:
                seen.add(cls)
                waiting += self._parts[cls]
        return seen

    def _collect(self, info: mi.Type) -> set[Any]:
        if not isinstance(info, NAMED):
            return {cls for part in children(info) for cls in self._collect(part)}
        if info.cls not in self.classes:
            self.classes[info.cls] = info
            self._parts[info.cls] = set()  # before its parts: a type may hold itself
            self._parts[info.cls] = {cls for part in children(info) for cls in self._collect(part)}
        return {info.cls}


def children(info: mi.Type) -> Iterable[mi.Type]:
    """Return the types that a type is made of directly."""
    match info:
        case mi.Metadata():
            return [info.type]
        case mi.StructType() | mi.TypedDictType() | mi.DataclassType() | mi.NamedTupleType():
            return [field.type for field in info.fields]
        case mi.CollectionType():
            return [info.item_type]
        case mi.TupleType():
            return info.item_types
        case mi.DictType():
            return [info.key_type, info.value_type]
        case mi.UnionType():
            return info.types
        case _:
            return []
