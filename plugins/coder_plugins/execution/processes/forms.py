"""The forms in which a secret value shows up in output: as it is, by lines, and encoded."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_SHORTEST = 8
"""Characters of an encoded form or of a line: a shorter one would mask what is no secret, such as `}` or `true`."""


def find_forms(values: Iterable[str]) -> list[bytes]:
    """Return the byte strings to mask for some secret values, without doubles; empty values have none.

    For each value: itself; its lines, as a program prints a key line by line; its URL and JSON escapes; and what is
    the same in base64 wherever the value stands in the encoded text (`user:password` of a Basic header).
    """
    forms: dict[bytes, None] = {}
    for value in values:
        data = value.encode("utf-8", "surrogateescape")
        if not data:
            continue
        forms[data] = None
        encoded = [line.strip() for line in data.splitlines()]
        encoded += [text.encode("ascii") for text in _escape(value)]
        encoded += _encode(data)
        forms |= {form: None for form in encoded if len(form) >= _SHORTEST}
    return list(forms)


def _escape(value: str) -> list[str]:
    data = value.encode("utf-8", "surrogateescape")
    return [quote(data), quote(data, safe=""), quote_plus(data), json.dumps(value)[1:-1]]


def _encode(data: bytes) -> list[bytes]:
    """Return the base64 digits that depend on the value alone, for each place that it may have in a group of three."""
    found: list[bytes] = []
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data)
        first = (before * 8 + 5) // 6  # the digits before this one hold bits of what stands before the value
        last = (before + len(data)) * 8 // 6  # and from this one on, bits of what follows
        digits = whole[first:last]
        found += [digits, digits.translate(bytes.maketrans(b"+/", b"-_"))]
    return found
