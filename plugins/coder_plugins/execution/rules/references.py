"""References in the input of a step: `${{ steps.build.output.path }}`. Paths only, no expressions.

A text that is one reference becomes the value it names, whatever its type; inside a longer text the value is written
into it, as JSON unless it is a text or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

_REFERENCE = re.compile(r"\$\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.\[\],'-]*?)\s*\}\}")
_OPEN = "${{"
ROOTS = ("inputs", "steps", "item", "matrix", "run")
DEPTH = 64
"""How deep values may be nested."""
_LONG = 4096
"""Characters of a text above which what it was parsed to is not kept."""


class ReferenceFault(Exception):
    """A reference names nothing; the message says what there is."""


class Place(NamedTuple):
    """A reference, and where it stands."""

    pointer: str
    path: tuple[str, ...]
    """`("steps", "build", "output", "path")`"""


class _Reference(NamedTuple):
    """A reference in a text, as it stands there and as a path."""

    text: str
    path: tuple[str, ...]


def find(value: Any, pointer: str = "") -> Iterator[Place]:
    """Yield every reference in a value, in order. Raises `ReferenceFault` for one that is not closed or no path."""
    if isinstance(value, str):
        if _OPEN in value:
            yield from _in_text(value, pointer)
    elif isinstance(value, Mapping):
        for name, part in cast("Mapping[str, Any]", value).items():
            yield from find(part, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, part in enumerate(cast("Sequence[Any]", value)):
            yield from find(part, f"{pointer}/{index}")


def _in_text(text: str, pointer: str) -> Iterator[Place]:
    found = list(_REFERENCE.finditer(text))
    if len(found) != text.count(_OPEN):
        raise ReferenceFault(f"{text[:80]!r} has a reference that is none: write ${{{{ steps.build.output }}}}")
    for match in found:
        yield Place(pointer, tuple(match.group(1).split(".")))


def refers(text: str) -> bool:
    """Tell whether a text holds a reference, or what was meant for one."""
    return _OPEN in text


def resolve(value: Any, scope: Mapping[str, Any], *, lenient: bool = False) -> Any:
    """Return a value with its references replaced by what they name in `scope`.

    Raises `ReferenceFault` where one names nothing; with `lenient` its text stays.
    """
    if isinstance(value, str):
        return _resolve_text(value, scope, lenient=lenient) if _OPEN in value else value
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return {name: resolve(part, scope, lenient=lenient) for name, part in found.items()}
    if isinstance(value, list):
        return [resolve(part, scope, lenient=lenient) for part in cast("Sequence[Any]", value)]
    return value


def _resolve_text(text: str, scope: Mapping[str, Any], *, lenient: bool) -> Any:
    parts = _parse(text) if len(text) <= _LONG else _parse.__wrapped__(text)
    if len(parts) == 1:
        return _value_of(parts[0], scope, lenient=lenient)
    return "".join(as_text(_value_of(part, scope, lenient=lenient)) for part in parts)


@lru_cache(maxsize=512)
def _parse(text: str) -> tuple[str | _Reference, ...]:
    """Return the parts of a text, none of them empty; of a fan-out each step has the same."""
    parts: list[str | _Reference] = []
    at = 0
    for match in _REFERENCE.finditer(text):
        parts += [text[at : match.start()], _Reference(match.group(0), tuple(match.group(1).split(".")))]
        at = match.end()
    return tuple(part for part in (*parts, text[at:]) if part)


def _value_of(part: str | _Reference, scope: Mapping[str, Any], *, lenient: bool) -> Any:
    if isinstance(part, str):
        return part
    try:
        return _look_up(part.path, scope)
    except ReferenceFault:
        if lenient:
            return part.text
        raise


def as_text(value: Any) -> str:
    """Return a value as it stands inside a text: as JSON unless it is a text itself."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _look_up(path: tuple[str, ...], scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for index, word in enumerate(path):
        if isinstance(value, (dict, Mapping)) and word in value:  # the former is asked for in a tenth of the time
            value = cast("Mapping[str, Any]", value)[word]
        elif isinstance(value, list) and word.isdecimal() and int(word) < len(cast("Sequence[Any]", value)):
            value = cast("Sequence[Any]", value)[int(word)]
        else:
            name, there = ".".join(path), _what_is_there(value, path[:index])
            raise ReferenceFault(f"${{{{ {name} }}}} names nothing: {there}")
    return value


def _what_is_there(value: Any, walked: Sequence[str]) -> str:
    where = ".".join(walked) or "a reference"
    if isinstance(value, Mapping):
        names = ", ".join(sorted(cast("Mapping[str, Any]", value))[:20])
        return f"{where} has {names or 'nothing'}"
    if isinstance(value, list):
        return f"{where} is a list of {len(cast('Sequence[Any]', value))}"
    return f"{where} is no object"
