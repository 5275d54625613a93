"""Taking out of a text what identifies a person or lets anybody in."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

_CREDENTIAL = re.compile(
    r"(?i)\b(authorization|cookie|password|passwd|secret|token|api[_-]?key|access[_-]?key)(\"?\s*[:=]\s*\"?)"
    r"(?:bearer\s+|basic\s+)?[^\s\",;]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONG = re.compile(r"[\w+=-]{28,}")
_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|«[^»]*»|“[^”]*”")


class Redactor:
    """Takes out of texts some secrets, all that looks like one, where things are, and whose they are."""

    def __init__(
        self,
        secrets: Iterable[str],
        *,
        folder: Path | None = None,
        home: Path | None = None,
        user: str = "",
        host: str = "",
    ) -> None:
        own = home or Path.home()
        homes = {str(each): "~" for each in (own, own.resolve())}
        homes |= {str(each): "<data>" for each in (folder, folder and folder.resolve()) if each is not None}
        self._secrets = sorted({each for each in secrets if len(each) > 5}, key=len, reverse=True)
        self._homes = sorted(homes.items(), key=lambda item: len(item[0]), reverse=True)
        names = {(user or _user()): "<user>", (host or socket.gethostname()): "<host>"}
        self._names = [(re.compile(rf"(?<!\w){re.escape(name)}(?!\w)"), word) for name, word in names.items() if name]

    def value(self, value: Any) -> Any:
        """Return plain data with each of its texts redacted."""
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(each) for key, each in cast("dict[object, object]", value).items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in cast("list[object]", value)]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return a text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        for place, word in self._homes:
            text = text.replace(place, word) if len(place) > 1 else text
        text = _IN_URL.sub("<secret>@", text)
        text = _BEARER.sub(r"\1 <secret>", text)
        text = _CREDENTIAL.sub(r"\1\2<secret>", text)
        text = _LONG.sub(_long, text)
        for pattern, word in self._names:
            text = pattern.sub(word, text)
        return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _long(match: re.Match[str]) -> str:
    found = match[0]
    if _UUID.fullmatch(found) or not (re.search(r"\d", found) and re.search(r"[A-Za-z]", found)):
        return found
    return "<secret>"


def own_words(message: str) -> str:
    """Return the part of a message that is our own sentence: what follows a colon, or is quoted, may be anybody's."""
    first = message.split("\n", 1)[0]
    head, colon, rest = first.partition(": ")
    said = _QUOTED.sub("<text>", head)
    return f"{said}: <{len(rest)} characters>" if colon else said
