"""What may be asked of artifacts: their content, piece by piece."""

from __future__ import annotations

import base64
import contextlib
from typing import Annotated

from msgspec import Meta

from coder_local.api import Id, Snapshot
from coder_plugins.execution.records import domain
from coder_plugins.execution.runs.records import Artifact

from .adapters import get
from .records import Content


@domain.query("execution.artifacts.read")
def read(
    read: Snapshot,
    *,
    id: Id,
    offset: Annotated[int, Meta(ge=0)] = 0,
    limit: Annotated[int, Meta(ge=1, le=4_194_304)] = 1_048_576,
) -> Content:
    """Return bytes of an artifact from an offset on, as text if they are UTF-8 and in base64 if not."""
    artifact = read.get(Artifact, id)
    part = get(read.folder, artifact.sha256, offset, limit)
    text: str | None = None
    with contextlib.suppress(UnicodeDecodeError):
        text = part.decode()
    return Content(
        sha256=artifact.sha256, bytes=artifact.bytes, media_type=artifact.media_type, offset=offset, text=text,
        base64=None if text is not None else base64.b64encode(part).decode(),
    )  # fmt: skip
