"""Secrets in clear: texts that look like a key or token, which belong into a vault and not into a plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

_PATTERNS: tuple[tuple[str, str], ...] = (
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}\b"),
    ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{10,}\b"),
    ("an API key", r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{24,}\b"),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\b"),
    ("a password in a URL", r"\b[a-z][a-z0-9+.-]*://[^\s:/@]+:(?!\$\{\{)[^\s:/@]{3,}@"),
)
_ANY = re.compile("|".join(f"({pattern})" for _, pattern in _PATTERNS))
SCHEME = "secret://"
_REFERENCE = re.compile(r"secret://[A-Za-z0-9_.~/-]*[A-Za-z0-9_~]")
"""One inside a longer text: it ends where a name must, so that what follows it, a full stop say, is not its own."""
_HOLDERS = frozenset({"env", "headers"})
"""Whose values may hold references inside longer texts; elsewhere such a text only speaks of one."""


class Clear(NamedTuple):
    """A secret in clear, and where it stands. Its text is not told: an error must not spread it."""

    pointer: str
    what: str


def find(value: Any, pointer: str = "") -> Iterator[Clear]:
    """Yield the texts in a value that look like secrets in clear."""
    if isinstance(value, str):
        match = _ANY.search(value)
        if match is not None:
            yield Clear(pointer, _PATTERNS[(match.lastindex or 1) - 1][0])
    elif isinstance(value, Mapping):
        for name, part in cast("Mapping[str, Any]", value).items():
            named = list(find(name, pointer))
            yield from named
            if not named:  # or the pointer would tell it
                yield from find(part, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, part in enumerate(cast("Sequence[Any]", value)):
            yield from find(part, f"{pointer}/{index}")


def mask(value: Any, secrets: Sequence[str]) -> Any:
    """Return a value in which each text that is one of some secrets, or holds one, has `***` in its place."""
    if isinstance(value, str):
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            value = value.replace(secret, "***")
        return value
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return {mask(name, secrets): mask(part, secrets) for name, part in found.items()}
    if isinstance(value, list):
        return [mask(part, secrets) for part in cast("Sequence[Any]", value)]
    return value


def references(value: Any, *, inside: bool = False) -> Iterator[str]:
    """Yield the `secret://` references in a value; `inside` has longer texts searched for them, too."""
    if isinstance(value, str):
        if inside:
            yield from split(value)[1::2]
        elif value.startswith(SCHEME):
            yield value
    elif isinstance(value, Mapping):
        for name, part in cast("Mapping[str, Any]", value).items():
            yield from references(part, inside=inside or name in _HOLDERS)
    elif isinstance(value, list):
        for part in cast("Sequence[Any]", value):
            yield from references(part, inside=inside)


def split(text: str) -> list[str]:
    """Return the parts of a text: between the references at odd places what stands before and after them."""
    parts: list[str] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        parts += (text[end : match.start()], match.group())
        end = match.end()
    return [*parts, text[end:]]
