"""References in the input of a step: `${{ steps.build.output.path }}`. Paths only, no expressions.

A text that is one reference becomes the value it names, whatever its type; inside a longer text the value is written
into it, as JSON unless it is a text or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

_REFERENCE = re.compile(r"\$\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.\[\],'-]*?)\s*\}\}")
_OPEN = "${{"
ROOTS = ("inputs", "steps", "item", "matrix", "run")
DEPTH = 64
"""How deep values may be nested."""


class ReferenceFault(Exception):
    """A reference names nothing; the message says what there is."""


class Place(NamedTuple):
    """A reference, and where it stands."""

    pointer: str
    path: tuple[str, ...]
    """`("steps", "build", "output", "path")`"""


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
    def named(match: re.Match[str]) -> Any:
        try:
            return _look_up(match.group(1), scope)
        except ReferenceFault:
            if lenient:
                return match.group(0)
            raise

    whole = _REFERENCE.fullmatch(text)
    if whole is not None:
        return named(whole)
    return _REFERENCE.sub(lambda match: as_text(named(match)), text)


def as_text(value: Any) -> str:
    """Return a value as it stands inside a text: as JSON unless it is a text itself."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _look_up(path: str, scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    walked: list[str] = []
    for word in path.split("."):
        if isinstance(value, Mapping) and word in value:
            value = cast("Mapping[str, Any]", value)[word]
        elif isinstance(value, list) and word.isdecimal() and int(word) < len(cast("Sequence[Any]", value)):
            value = cast("Sequence[Any]", value)[int(word)]
        else:
            raise ReferenceFault(f"${{{{ {path} }}}} names nothing: {_what_is_there(value, walked)}")
        walked.append(word)
    return value


def _what_is_there(value: Any, walked: list[str]) -> str:
    where = ".".join(walked) or "a reference"
    if isinstance(value, Mapping):
        names = ", ".join(sorted(cast("Mapping[str, Any]", value))[:20])
        return f"{where} has {names or 'nothing'}"
    if isinstance(value, list):
        return f"{where} is a list of {len(cast('Sequence[Any]', value))}"
    return f"{where} is no object"
