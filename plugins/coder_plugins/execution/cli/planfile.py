"""A plan as a file holds it: its steps, what they are given, and the line on which each part stands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from coder_local.cli.api import Failure, invalid, is_list, is_object, json_of

from . import yamltext

NAMES = ("name", "inputs", "folder", "parallel", "priority", "concurrency_key", "deadline", "steps")
"""What may stand in a plan file; a file that is a list is the steps alone."""

LARGEST = 16 * 1024 * 1024
"""Bytes of a file."""


class Plan(NamedTuple):
    """What was read from a file."""

    path: Path
    content: dict[str, Any]
    """By the names in `NAMES`, those that are there."""
    lines: dict[str, int]

    @property
    def name(self) -> str:
        """What the run is called: as the file says, else as the file."""
        return str(self.content.get("name") or self.path.stem)

    def place(self, pointer: str | None) -> str:
        """Return `plan.yaml:12` for what a JSON pointer names, or for what stands around it."""
        line = self.line(pointer)
        return self.path.name if line is None else f"{self.path.name}:{line}"

    def line(self, pointer: str | None) -> int | None:
        """Return the line of what a JSON pointer names, or of what stands around it; None if it is not in the file."""
        found = pointer or ""
        while found and found not in self.lines:
            found = found.rpartition("/")[0]
        return self.lines.get(found) if found else None


def read(path: Path) -> Plan:
    """Return the plan in a file. Raises `Failure` naming the line of what cannot be."""
    text = _text(path)
    parsed = _json(path, text) if path.suffix.lower() == ".json" else _yaml(path, text)
    content, lines = parsed
    if is_list(content):
        content, lines = {"steps": content}, {f"/steps{pointer}": line for pointer, line in lines.items()}
    if not is_object(content) or not is_list(content.get("steps")):
        raise invalid(f"{path.name} holds no steps", hint="a plan is a list of steps, or an object with `steps`")
    for name in content:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(NAMES)}"
            raise invalid(f"{_at(path, lines, name)}: a plan has no {name!r}", field=f"/{name}", hint=hint)
    if not is_object(content.get("inputs", {})):
        raise invalid(f"{_at(path, lines, 'inputs')}: inputs are an object", field="/inputs")
    return Plan(path, content, lines)


def _text(path: Path) -> str:
    try:
        data = path.expanduser().read_bytes()
    except OSError as fault:
        hint = "name a file that holds a plan, YAML or JSON"
        raise Failure("not_found", f"{path} cannot be read: {fault.strerror}", field="/plan", hint=hint) from None
    if len(data) > LARGEST:
        raise Failure("too_large", f"{path} is over {LARGEST // 2**20} MiB", field="/plan")
    try:
        return data.decode("utf-8-sig")  # Windows editors write a mark in front
    except UnicodeDecodeError as fault:
        raise invalid(f"{path} is not UTF-8: {fault}", field="/plan", hint="convert it first") from None


def _at(path: Path, lines: dict[str, int], name: str) -> str:
    line = lines.get(f"/{name}")
    return path.name if line is None else f"{path.name}:{line}"


def _yaml(path: Path, text: str) -> yamltext.Parsed:
    try:
        return yamltext.parse(text)
    except yamltext.YamlError as error:
        raise invalid(f"{path.name}:{error.line}: {error.message}", hint="mend the file; nothing was run") from None


def _json(path: Path, text: str) -> yamltext.Parsed:
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise invalid(f"{path.name}:{error.lineno}: {error.msg}", hint="mend the file; nothing was run") from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"{path.name}: {error}", hint="mend the file; nothing was run") from None
    try:  # nearly all JSON is YAML too, and YAML knows its lines
        lines = yamltext.parse(text).lines
    except yamltext.YamlError:
        lines = {}
    return yamltext.Parsed(value, lines)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def inputs(known: dict[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """Return a plan's inputs with those given as `key=value`, or `key:=JSON`, in their places.

    A value is a text, unless the plan's own for it is a number, a boolean or an object: then it is JSON as well.
    """
    found = dict(known)
    for argument in given:
        key, equals, text = argument.partition("=")
        if not equals or not key.strip(":"):
            raise invalid(f"{argument[:80]!r} is not key=value", field="/inputs", hint="say --input version=1.2")
        name = key.removesuffix(":")
        as_json = key.endswith(":") or not isinstance(known.get(name, ""), str)
        found[name] = _value(name, text) if as_json else text
    return found


def _value(name: str, text: str) -> Any:
    try:
        return json_of(text)
    except ValueError as error:
        raise Failure("invalid", f"the input {name} is not JSON: {error}", field=f"/inputs/{name}") from None
