"""What is answered of artifacts."""

from __future__ import annotations

from coder_local.api import Value


class Content(Value):
    """Some bytes of an artifact."""

    sha256: str
    bytes: int
    """Of the whole content."""
    media_type: str
    offset: int
    text: str | None
    """If these bytes are UTF-8."""
    base64: str | None
    """If they are not."""
