"""What is wrong with the input of a step, while some of its values are references that are known only when it runs."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from coder_local.api import Fault, Value

from .references import find

_PLAIN = "`$"


def faults(struct: type[Value], value: Mapping[str, Any], pointer: str = "") -> Iterator[Fault]:
    """Yield every fault of an input against the fields of a type; fields that hold a reference are left out."""
    fields = _fields(struct)
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(fields)}"
            yield Fault(f"{pointer}/{name}", f"there is no field {name!r}", hint)
    for name, field in fields.items():
        if name not in value:
            if field.required:
                yield Fault(f"{pointer}/{name}", f"{name} is missing", None)
        elif not any(find(value[name])):
            try:
                msgspec.convert(value[name], field.type)
            except msgspec.ValidationError as error:
                message, at = _split(str(error))
                if not at and ("matching regex" in message or ", got `" in message):
                    message = _expected(field.type) or message
                yield Fault(f"{pointer}/{name}{at}", message, None)


@functools.cache
def _fields(struct: type[Value]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields of a type by name; to find them out takes half a millisecond."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _expected(annotation: Any) -> str | None:
    """Return what a type says that it expects, also when it may be None: a person cannot read its pattern."""
    for part in (annotation, *get_args(annotation)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.extra and "expected" in meta.extra:
                return f"expected {meta.extra['expected']}"
    return None


def _split(text: str) -> tuple[str, str]:
    """Return the message of a validation error, and its place as the end of a JSON pointer."""
    message, _, place = text.partition(" - at ")
    at = place.strip(_PLAIN).replace("[", "/").replace("]", "").replace(".", "/")
    return message, at if not at or at.startswith("/") else f"/{at}"
