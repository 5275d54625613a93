"""JSON Schema as TypeScript types, and texts as TSDoc."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, cast

from coder_local._registry.signature import LIST_LIMIT, TEXT_LIMIT

from .jsonschema import REF, Schema
from .schemas import Model

WIDTH = 110
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_FORMATS = {"date-time": "Instant", "date": "LocalDate", "duration": "Duration"}
_BLANKET = {TEXT_LIMIT, LIST_LIMIT}
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_UNFILLED = re.compile(r"[\s\-*|#>]|\d+[.)]")


class Types:
    """Renders schemas, and remembers which names must be imported for them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.imported: set[str] = {"Invoke"}

    def use(self, name: str) -> str:
        """Return a name that the hand-written part exports, and have it imported."""
        self.imported.add(name)
        return name

    def type(self, schema: Schema, *, answer: bool) -> str:
        """Return the type; in an answer a word that is not known today may stand for a known one."""
        return " | ".join(self._parts(schema, answer=answer))

    def _parts(self, schema: Schema, *, answer: bool) -> list[str]:
        """Return the members of the union that a schema is, null last."""
        if "$ref" in schema:
            return [self._named(schema["$ref"].removeprefix(REF), answer=answer)]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            parts = dict.fromkeys(part for option in options for part in self._parts(option, answer=answer))
            return sorted(parts, key=lambda part: part == "null")
        if "enum" in schema:
            words = [json.dumps(value, ensure_ascii=False) for value in schema["enum"]]
            return [self._open(" | ".join(words))] if answer and is_open(schema) else words
        return [self._structured(schema, answer=answer)]

    def _structured(self, schema: Schema, *, answer: bool) -> str:
        kind = schema.get("type")
        if kind == "array":
            if "prefixItems" in schema:
                return "[" + ", ".join(self.type(item, answer=answer) for item in schema["prefixItems"]) + "]"
            item = self._parts(schema.get("items", {}), answer=answer)
            return f"{item[0]}[]" if len(item) == 1 else f"({' | '.join(item)})[]"
        if kind == "object":
            values = schema.get("additionalProperties")
            free = cast(Schema, values) if isinstance(values, dict) else {}
            return f"Record<string, {self.type(free, answer=answer)}>"
        if kind == "string" and schema.get("format") in _FORMATS:
            return self.use(_FORMATS[schema["format"]])
        return _PLAIN.get(str(kind), "unknown")

    def _named(self, name: str, *, answer: bool) -> str:
        if name in self._model.pages:
            return f"{self.use('Page')}<{self.type(self._model.pages[name], answer=answer)}>"
        if name == "RecordChanged":
            return self.use(name)
        return self._open(name) if answer and is_open(self._model.components[name]) else name

    def _open(self, words: str) -> str:
        return f"{self.use('Open')}<{words}>"

    def members(self, properties: dict[str, Schema], required: Iterable[str], *, answer: bool) -> Iterator[str]:
        """Yield the lines of an interface's members, indented."""
        for name, schema in properties.items():
            parts = [schema.get("description", ""), "" if answer else limits(schema)]
            yield from tsdoc(" ".join(_sentence(part) for part in parts if part), "  ")
            key = name if _NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
            mark = "" if name in required else "?"
            yield f"  {key}{mark}: {self.type(schema, answer=answer)};"


def is_open(schema: Schema) -> bool:
    """Tell whether an enum is of several words, to which a later daemon may add."""
    words: list[Any] = schema.get("enum", [])
    return len(words) > 1 and all(isinstance(word, str) for word in words)


def limits(schema: Schema) -> str:
    """Return one sentence on what a value is held to and what stands for a missing one, or ""."""
    options: list[Schema] = [option for option in schema.get("anyOf", [schema]) if option != {"type": "null"}]
    bare: Schema = options[0] if len(options) == 1 else {}
    found = [
        _range(bare.get("minLength"), bare.get("maxLength"), " characters"),
        _range(bare.get("minItems"), bare.get("maxItems"), " items") if "prefixItems" not in bare else "",
        _range(bare.get("minimum"), bare.get("maximum"), ""),
        f"above {bare['exclusiveMinimum']}" if "exclusiveMinimum" in bare else "",
        f"below {bare['exclusiveMaximum']}" if "exclusiveMaximum" in bare else "",
    ]
    default = schema.get("default")
    if isinstance(default, (str, int, float)) and default:
        shown = f"`{default}`" if isinstance(default, str) else json.dumps(default)
        found.append(f"{shown} when missing")
    text = "; ".join(filter(None, found))
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _range(low: float | None, high: float | None, unit: str) -> str:
    if high in _BLANKET and unit:
        high = None
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if high is not None:
        return f"at most {high}{unit}"
    return f"at least {low}{unit}" if low else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "`", ":", ")")) else f"{text}."


def tsdoc(text: str, indent: str = "") -> list[str]:
    """Return the lines of a comment that editors show; nothing for an empty text."""
    text = text.strip().replace("*/", r"*\/")
    if not text:
        return []
    if "\n" not in text and len(indent) + len(text) + 7 <= WIDTH:
        return [f"{indent}/** {text} */"]
    lines = [line for paragraph in re.split(r"\n\s*\n", text) for line in ("", *_filled(paragraph, indent))][1:]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]


def _filled(paragraph: str, indent: str) -> list[str]:
    """Return a paragraph filled to the width; lists and indented lines keep their own lines."""
    lines = paragraph.splitlines()
    width = WIDTH - len(indent) - 3
    if any(_UNFILLED.match(line) for line in lines):
        return [
            part
            for line in lines
            for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        ]
    return textwrap.wrap(" ".join(lines), width, break_long_words=False, break_on_hyphens=False)
