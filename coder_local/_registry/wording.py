"""msgspec's words for a misfit, in words that tell a person what to send instead."""

from __future__ import annotations

import re

_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_COUNTED = {"str": "characters", "array": "items", "object": "members", "bytes": "bytes"}
# Not compiled yet: only a misfit needs them, and a start does not.
_LENGTH = r"Expected `(\w+)` of length (>=|<=) (\d+)"
_BOUND = r"Expected `(?:int|float)` (>=|<=|>|<) (-?[\d.]+)"
_WRONG = r"Expected `([^`]+)`(?:, got `([^`]+)`)?"
_MISSING = r"Object missing required field `([^`]+)`"
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def reword(text: str) -> str:
    """Return what a misfit asks for, in plain words; an unknown one as it is, in small letters."""
    if match := re.fullmatch(_LENGTH, text):
        kind, sign, count = match.groups()
        if (sign, count) == (">=", "1"):
            return "it must not be empty"
        return f"it must have {_SIGNS[sign]} {int(count):,} {_COUNTED.get(kind, 'items')}"
    if match := re.fullmatch(_BOUND, text):
        return f"it must be {_SIGNS[match[1]]} {match[2]}"
    if match := re.fullmatch(_MISSING, text):
        return f"its field {match[1]} is required"
    if match := re.fullmatch(_WRONG, text):
        wanted = " or ".join(_TYPES.get(name.strip(), name.strip()) for name in match[1].split("|"))
        return f"expected {wanted}" + (f", got {_TYPES.get(match[2], match[2])}" if match[2] else "")
    return text[:1].lower() + text[1:]
