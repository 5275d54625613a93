"""YAML as plain data, with the line on which each value stands.

Only what JSON has is taken, and plain words mean what they mean in YAML 1.2: `on` and `no` are texts, and so are
dates. Two equal keys, tags and values that hold themselves are refused.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, NamedTuple

MOST_VALUES = 200_000
"""Values in one text, those that an alias repeats counted again: a few lines of aliases can stand for billions."""
DEEPEST = 64

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ZEROS = re.compile(r"[-+]?0[0-9]")
_PLAIN = "tag:yaml.org,2002:"


class YamlError(Exception):
    """A text is no YAML, or holds what no plan may; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Parsed(NamedTuple):
    """A value, and the line of each part of it by JSON pointer."""

    value: Any
    lines: dict[str, int]


def parse(text: str) -> Parsed:
    """Return the value of a YAML text. Raises `YamlError`."""
    yaml: Any = importlib.import_module("yaml")  # 30 ms that other commands need not, and no types

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # wheels have the first, other builds may not

    class Loader(base):  # type: ignore[misc]  # the base is untyped
        """Leaves plain words alone; what they mean is decided here."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - how PyYAML names the table it looks into

    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or error.context), mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split()), 1) from None
    except RecursionError:
        raise YamlError("it is nested too deeply", 1) from None
    walk = _Walk()
    return Parsed(None if node is None else walk.value(node, "", 0), walk.lines)


class _Walk:
    """Turns the nodes of one text into values."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._count = 0

    def value(self, node: Any, pointer: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(pointer, line)
        self._count += 1
        if depth > DEEPEST:
            raise YamlError("it is nested too deeply, or holds itself", line)
        if self._count > MOST_VALUES:
            raise YamlError(f"it holds more than {MOST_VALUES} values", line)
        if not str(node.tag).startswith(_PLAIN) or str(node.tag).removeprefix(_PLAIN) not in {"str", "map", "seq"}:
            raise YamlError(f"the tag {node.tag} means nothing in a plan", line)
        if isinstance(node.value, str):
            return _scalar(node.value) if not node.style else node.value
        if node.tag == f"{_PLAIN}seq":
            return [self.value(each, f"{pointer}/{index}", depth + 1) for index, each in enumerate(node.value)]
        return self._mapping(node, pointer, depth)

    def _mapping(self, node: Any, pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                raise YamlError("a key is a text", line)
            if key.value in found:
                raise YamlError(f"{key.value!r} stands here twice", line)
            below = f"{pointer}/{key.value.replace('~', '~0').replace('/', '~1')}"
            self.lines.setdefault(below, line)
            found[key.value] = self.value(value, below, depth + 1)
        return found


def _scalar(text: str) -> Any:
    """Return what a plain word stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    # 007 and 0.5 both begin with a zero, and only the second is a number to everybody
    if _NUMBER.fullmatch(text) and not _ZEROS.match(text):
        return float(text)
    return text
