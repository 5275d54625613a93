"""Query strings: texts to the values that an operation's input takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from coder_local._registry.signature import Parameter, Signature, invalid
from coder_local.api import Fault, Invalid

FIELDS_LIMIT = 1000
"""Fields that one query string may have."""
_encode = msgspec.json.Encoder().encode
_OBJECTS = (
    inspect.DictType,
    inspect.StructType,
    inspect.TypedDictType,
    inspect.DataclassType,
    inspect.NamedTupleType,
)
_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


class Shape(Enum):
    """How a parameter is written in a query string."""

    SCALAR = "scalar"
    LIST = "list"
    """The name is repeated."""
    LIST_OF_JSON = "list_of_json"
    JSON = "json"


class QueryReader:
    """Reads the query strings of one operation."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._shapes = {parameter.name: _shape(parameter) for parameter in signature.parameters}

    def read(self, query: str, fixed: Mapping[str, str]) -> bytes:
        """Return the input as JSON; `fixed` holds fields that come from elsewhere. Raises `Invalid` with all faults."""
        if not query and not fixed.keys() - {"id"}:
            return b'{"id":%b}' % _encode(fixed["id"]) if fixed else b"{}"
        return _encode(self._signature.convert(self.values(query, fixed), strict=False))

    def values(self, query: str, fixed: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields of a query string, texts still where scalars are meant."""
        given: dict[str, list[str]] = {}
        for name, text in _pairs(query):
            given.setdefault(name, []).append(text)
        faults: list[Fault] = []
        values: dict[str, Any] = dict(fixed)
        for name, texts in given.items():
            if name in fixed:
                faults.append(Fault(f"/{name}", "this field is given by the path or a header already", "give it once"))
                continue
            try:
                values[name] = _value(self._shapes.get(name, Shape.SCALAR), texts)
            except ValueError as error:
                faults.append(Fault(f"/{name}", str(error)))
        if faults:
            raise invalid(faults)
        return values


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
    except UnicodeDecodeError as error:
        raise Invalid("the query string is not UTF-8", hint="percent-encode its bytes as UTF-8") from error
    except ValueError as error:
        raise Invalid(f"a query string has at most {FIELDS_LIMIT} fields") from error


def _value(shape: Shape, texts: list[str]) -> Any:
    if shape is Shape.LIST:
        return texts
    if shape is Shape.LIST_OF_JSON:
        return [_json(text) for text in texts]
    if len(texts) > 1:
        raise ValueError("this field is one value, and is given more than once")
    return texts[0] if shape is Shape.SCALAR else _json(texts[0])


def _json(text: str) -> Any:
    def constant(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"this field is an object, written as JSON: {error}") from error


def _shape(parameter: Parameter) -> Shape:
    kinds = _members(inspect.type_info(parameter.annotation))
    if any(isinstance(kind, inspect.StrType) for kind in kinds):
        return Shape.SCALAR  # a text among the choices takes any text as it is
    lists = [kind for kind in kinds if isinstance(kind, _LISTS)]
    if lists:
        inner = _members(lists[0].item_type)
        return Shape.LIST_OF_JSON if any(isinstance(kind, _OBJECTS) for kind in inner) else Shape.LIST
    return Shape.JSON if any(isinstance(kind, (*_OBJECTS, inspect.AnyType)) for kind in kinds) else Shape.SCALAR


def _members(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        return [member for each in kind.types for member in _members(each)]
    if isinstance(kind, inspect.Metadata):
        return _members(kind.type)
    return [kind]
