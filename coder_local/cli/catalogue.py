"""The daemon's operations as it describes them, and the words that lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coder_ipc.client import Client


class Operation(NamedTuple):
    """One operation."""

    name: str
    kind: str
    safety: str
    summary: str
    description: str
    input: dict[str, Any]
    """JSON Schema of what it takes; empty when it was not asked for."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its command: `changes list`."""
        return words_of(self.name)


def words_of(name: str) -> tuple[str, ...]:
    """Return a wire name as the words of a command."""
    return tuple(name.replace("_", "-").split("."))


def find(client: Client, name: str) -> Operation | None:
    """Return one operation with the schema of its input, None when there is none of that name."""
    return next((each for each in fetch(client, name, with_schemas=True) if each.name == name), None)


def fetch(
    client: Client, prefix: str = "", *, with_schemas: bool = False, timeout: float | None = None
) -> list[Operation]:
    """Return the operations whose names begin with `prefix`, sorted by name; their `input` only if asked for."""
    answer = client.call("operations.list", {"prefix": prefix, "with_schemas": with_schemas}, timeout)
    items = cast("list[dict[str, Any]]", answer["items"])
    found = [_operation(item) for item in items if str(item["name"]).startswith(prefix)]
    return sorted(found, key=lambda operation: operation.name)


def _operation(item: dict[str, Any]) -> Operation:
    # a later daemon may leave out what this version reads: only the name must be there
    schema = item.get("input")
    return Operation(
        name=item["name"],
        kind=item.get("kind") or "query",
        safety=item.get("safety") or "read",
        summary=item.get("summary") or "",
        description=item.get("description") or "",
        input=cast("dict[str, Any]", schema) if isinstance(schema, dict) else {},
    )


def longest(operations: Iterable[Operation], words: Sequence[str]) -> Operation | None:
    """Return the operation that the most of the leading words spell."""
    spelt = [operation for operation in operations if tuple(words[: len(operation.words)]) == operation.words]
    return max(spelt, key=lambda operation: len(operation.words), default=None)


def below(operations: Iterable[Operation], words: Sequence[str]) -> dict[str, list[Operation]]:
    """Return the words that may follow `words`, each with the operations it leads to."""
    depth = len(words)
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.words[:depth] == tuple(words) and len(operation.words) > depth:
            found.setdefault(operation.words[depth], []).append(operation)
    return found
