"""What a JSON value is, told so that type checkers follow."""

from __future__ import annotations

from typing import Any, TypeGuard


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether a value is a JSON list."""
    return isinstance(value, list)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a value is a JSON object."""
    return isinstance(value, dict)


def rows_of(value: object) -> list[dict[str, Any]]:
    """Return a list that holds objects only; an empty one for anything else."""
    return value if is_list(value) and all(map(is_object, value)) else []
