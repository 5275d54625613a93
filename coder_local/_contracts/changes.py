"""What would break a client that was written against an older set of contracts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from coder_local.api import Safety

from .compare import Comparison
from .files import EVENTS, OPENAPI, OPENRPC, TABLES

Documents = Mapping[str, str]
"""Texts by path, as `files.render` returns them; a document that there was not yet is left out."""
COMPARED = (OPENRPC, OPENAPI, EVENTS, TABLES)
"""The documents that are compared; the others are made of the same declarations."""
_DANGER = {
    str(word): danger for danger, word in enumerate((Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE, Safety.EXTERNAL))
}
_METHODS = {"get", "post", "patch", "put", "delete"}


class Breaking(NamedTuple):
    """One thing that an older client would trip over."""

    subject: str
    """Name of the operation, event type, plugin or table."""
    what: str


def breaking(old: Documents, new: Documents) -> list[Breaking]:
    """Return all breaking changes between two sets of contracts, by subject."""
    found: set[Breaking] = set()
    parts: dict[str, Callable[[Any, Any], Iterator[Breaking]]] = {
        OPENRPC: _operations,
        OPENAPI: _routes_and_settings,
        EVENTS: _events,
    }
    for path, compare in parts.items():
        if path in old:
            found.update(compare(json.loads(old[path]), json.loads(new[path])))
    if TABLES in old:
        found.update(_tables(old[TABLES], new[TABLES]))
    return sorted(found)


def unnamed(changes: Iterable[Breaking], changelog: str) -> list[Breaking]:
    """Return the changes whose subject no line under `### Breaking` of the changelog's Unreleased section names."""
    unreleased = _section(changelog, r"## \[?Unreleased\]?", r"## ")
    listed = _section(unreleased, r"### Breaking", r"##")
    words = set(re.findall(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", listed))
    return [change for change in changes if change.subject not in words]


def _section(text: str, opens: str, closes: str) -> str:
    lines = iter(text.splitlines())
    for line in lines:
        if re.match(opens, line, re.IGNORECASE):
            break
    kept: list[str] = []
    for line in lines:
        if re.match(closes, line):
            break
        kept.append(line)
    return "\n".join(kept)


def _schemas(document: Any) -> Any:
    return document.get("components", {}).get("schemas", {})


def _operations(old: Any, new: Any) -> Iterator[Breaking]:
    now = {method["name"]: method for method in new["methods"]}
    for before in old["methods"]:
        name = before["name"]
        if name not in now:
            yield Breaking(name, "the operation is gone")
            continue
        # One comparison each: what is wrong with a shared type is wrong with every operation that has it.
        comparison = Comparison(_schemas(old), _schemas(new))
        for what in _operation(before, now[name], comparison):
            yield Breaking(name, what)


def _operation(old: Any, new: Any, comparison: Comparison) -> Iterator[str]:
    if old["x-kind"] != new["x-kind"]:
        yield f"it is a {new['x-kind']}, it was a {old['x-kind']}"
    if _DANGER[new["x-safety"]] > _DANGER[old["x-safety"]]:
        yield f"its safety word is {new['x-safety']}, it was {old['x-safety']}"
    if new.get("x-person-only") and not old.get("x-person-only"):
        yield "it is refused to agents now"
    yield from comparison.narrowed(_input(old), _input(new), "input ")
    answers = [method.get("x-item", method["result"]["schema"]) for method in (old, new)]
    yield from comparison.lost(answers[0], answers[1], "answer ")


def _input(method: Any) -> Any:
    return {
        "type": "object",
        "properties": {param["name"]: param["schema"] for param in method["params"]},
        "required": [param["name"] for param in method["params"] if param["required"]],
        "additionalProperties": False,
    }


def _routes_and_settings(old: Any, new: Any) -> Iterator[Breaking]:
    now = _routes(new)
    for name, route in _routes(old).items():
        if name in now and now[name] != route:
            yield Breaking(name, f"its route is {now[name]}, it was {route}")
    comparison = Comparison(_schemas(old), _schemas(new))
    for plugin, schema in old.get("x-settings", {}).items():
        if plugin in new.get("x-settings", {}):
            for what in comparison.narrowed(schema, new["x-settings"][plugin], "settings "):
                yield Breaking(plugin, what)
        else:
            yield Breaking(plugin, "its settings are gone")


def _routes(document: Any) -> dict[str, str]:
    return {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    }


def _events(old: Any, new: Any) -> Iterator[Breaking]:
    for name, event in old["events"].items():
        if name not in new["events"]:
            yield Breaking(name, "the event is gone")
            continue
        comparison = Comparison(_schemas(old), _schemas(new))
        for what in comparison.lost(event["data"], new["events"][name]["data"], "data "):
            yield Breaking(name, what)


def _tables(old: str, new: str) -> Iterator[Breaking]:
    now = _columns(new)
    for table, columns in _columns(old).items():
        if table not in now:
            yield Breaking(table, "the table is gone")
            continue
        for column, type_ in columns.items():
            if column not in now[table]:
                yield Breaking(table, f"column {column} is gone")
            elif now[table][column] != type_:
                yield Breaking(table, f"column {column} is {now[table][column]}, it was {type_}")


def _columns(sql: str) -> dict[str, dict[str, str]]:
    """Return the columns of each table and their types, from statements with one column a line."""
    found: dict[str, dict[str, str]] = {}
    for table, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", sql, re.MULTILINE | re.DOTALL):
        found[table] = dict(re.findall(r"^\s+([a-z_]\w*) ([A-Z]+)", body, re.MULTILINE))
    return found
