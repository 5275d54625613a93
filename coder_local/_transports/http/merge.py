"""JSON Merge Patch, RFC 7396."""

from __future__ import annotations

from typing import Any, cast


def merge_patch(target: Any, patch: Any) -> Any:
    """Return a value with a patch applied: members of objects are merged, null takes one away, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Any] = dict(cast("dict[str, Any]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, Any]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
