"""The hash of what a plan does: equal content has the same hash, on every machine and in every order of its fields."""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode


def content_hash(content: Any) -> str:
    """Return the SHA-256 of the content's JSON with sorted names, 64 hexadecimal digits."""
    import hashlib  # noqa: PLC0415 - costs 3 ms, and most starts make no plan

    return hashlib.sha256(_encode(content)).hexdigest()
