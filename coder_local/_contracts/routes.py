"""The HTTP method and path of an operation, derived from its name, its kind and whether it is about one record."""

from __future__ import annotations

from typing import NamedTuple

from coder_local._registry.registry import Prepared
from coder_local.api import Kind, Operation

PREFIX = "/api"
_ON_RECORD = {"get": "GET", "update": "PATCH", "delete": "DELETE"}
_ON_COLLECTION = {"list": "GET", "create": "POST"}
_NEEDS_ID = frozenset({"get", "update", "delete", "history"})


class Route(NamedTuple):
    """Where an operation answers over HTTP."""

    method: str
    path: str
    """With `{id}` in it when `id_in_path`."""
    id_in_path: bool


def route_of(prepared: Prepared) -> Route:
    """Return the route of an operation."""
    return route(prepared.operation)


def route(operation: Operation) -> Route:
    """Return the route of an operation as it was declared; cheap, because it does not make the operation ready."""
    *parents, verb = operation.name.split(".")
    reads = operation.kind in {Kind.QUERY, Kind.STREAM}
    collection = "/".join([PREFIX, *parents])
    needs_id = requires_id(operation)
    fits = operation.kind is not Kind.STREAM and reads == (verb in {"get", "list"})
    if fits and verb in _ON_COLLECTION:
        return Route(_ON_COLLECTION[verb], collection, False)
    if fits and verb in _ON_RECORD and needs_id:
        return Route(_ON_RECORD[verb], f"{collection}/{{id}}", True)
    method = "GET" if reads else "POST"
    if needs_id and (len(parents) > 1 or operation.standard is not None):
        return Route(method, f"{collection}/{{id}}/{verb}", True)
    return Route(method, f"{collection}/{verb}", False)


def requires_id(operation: Operation) -> bool:
    """Tell whether the input must name one record by `id`."""
    if operation.standard is not None:
        return operation.standard.verb in _NEEDS_ID
    function = operation.function
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return "id" in keywords and "id" not in (getattr(function, "__kwdefaults__", None) or {})
