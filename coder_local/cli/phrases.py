"""Answers that say more in words than as a table of what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .shapes import is_object, rows_of
from .tables import clean, name_of, table

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 10
_OF_A_PLUGIN = ("name", "status", "version", "source", "reason", "over_budget", "operations", "import_ms", "start_ms")
_OF_A_CHANGE = ("change_set", "at", "operation")


def of(operation: str, value: Any, width: int, *, bold: bool = False) -> str | None:
    """Return an operation's answer in words, None when a table does for it."""
    phrase = _PHRASES.get(operation)
    return phrase(value, width, bold) if phrase is not None and is_object(value) else None


def _undone(value: dict[str, Any], width: int, bold: bool) -> str | None:
    rows = rows_of(value.get("undone"))
    count = value.get("count", len(rows))
    if not rows or not isinstance(count, int):
        return None
    records = f"{count} record{'' if count == 1 else 's'}"
    head = clean(f"took back {value.get('operation')} (change set {value.get('change_set')}), which wrote {records}")
    told = list(map(_what, rows[:_SHOWN]))
    shown = table(told, width, columns=_filled(told), bold=bold)
    more = f"\n… and {count - _SHOWN} more" if count > _SHOWN else ""
    return f"{head}\n\n{shown}{more}"


def _changes(value: dict[str, Any], width: int, bold: bool) -> str | None:
    rows = rows_of(value.get("items"))
    if not rows:
        return None
    told = [{name: row.get(name) for name in _OF_A_CHANGE} | _what(row) | {"actor": row.get("actor")} for row in rows]
    more = f"\n\nmore: --cursor {clean(str(value['next_cursor']))}" if value.get("next_cursor") else ""
    return table(told, width, columns=_filled(told), bold=bold) + more


def _plugins(value: dict[str, Any], width: int, bold: bool) -> str | None:
    rows = rows_of(value.get("items"))
    if not rows:
        return None
    told = [{**row, "over_budget": _over_budget(row.get("costs"))} for row in rows]
    filled = tuple(name for name in _OF_A_PLUGIN if any(row.get(name) for row in told))
    return table(told, width, columns=filled, bold=bold)


def _over_budget(costs: object) -> str:
    return "; ".join(map(str, costs.get("over", ()))) if is_object(costs) else ""


def reloaded(found: dict[str, Any]) -> str:
    """Return what a reload came to: what changed and how long it took, or why the old content goes on."""
    plugin, took = found["plugin"], f"{found['took_ms']:.0f} ms"
    name = plugin["name"]
    if not found["reloaded"]:
        goes_on = "; the content before goes on" if plugin["status"] == "loaded" else ""
        return clean(f"{name} was not loaded ({took}): {found['fault']}{goes_on}")
    signs = (("+", found["added"]), ("-", found["removed"]), ("~", found["changed"]))
    differs = " ".join(f"{sign}{operation}" for sign, operations in signs for operation in operations)
    same = f"the same {plugin['operations']} operations"
    return "\n".join(map(clean, [f"{name} loaded in {took}: {differs or same}", *found["left"]]))


def _filled(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(name for name in rows[0] if any(row[name] for row in rows))


def _what(change: dict[str, Any]) -> dict[str, Any]:
    """Return a change as a row: what was done to which record, by its name where the change tells it."""
    fields = rows_of(change.get("fields"))
    said = {str(each.get("field")): each.get("before") or each.get("after") for each in fields}
    was_updated = change.get("action") == "updated"
    return {
        "action": change.get("action"),
        "name": name_of(said) or change.get("id"),
        "record": change.get("record"),
        "fields": ", ".join(said) if was_updated else "",
    }


_PHRASES: dict[str, Callable[[dict[str, Any], int, bool], str | None]] = {
    "changes.undo": _undone,
    "changes.list": _changes,
    "plugins.list": _plugins,
    "plugins.reload": lambda value, _width, _bold: reloaded(value),
}


_MAY = {
    "operations": "call",
    "events": "hear",
    "secrets": "use the secrets",
    "hosts": "connect to",
    "commands": "start",
}


def granted(plugin: dict[str, Any]) -> str:
    """Return what a third party's plugin may do once it is enabled, as `plugins.list` tells of it."""
    name, allowed = plugin["name"], plugin.get("permissions")
    if plugin["status"] == "loaded" and plugin["reason"]:  # the permissions are those of the content that runs
        return f"{name}: {plugin['reason']}"
    if allowed is None:
        return f"{name} runs in the daemon, where it may do whatever you may"
    may = [f"{word} {', '.join(allowed[kind])}" for kind, word in _MAY.items() if allowed.get(kind)]
    return f"{name} runs in a process of its own; beyond its own domain it may {'; '.join(may) or 'do nothing'}"
