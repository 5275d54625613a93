"""Events as those hear them who listen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self

from .records import Value
from .values import Instant

if TYPE_CHECKING:
    from types import TracebackType


class Heard(Value):
    """One committed event."""

    id: str
    """`<epoch>:<seq>`: the cursor from which one hears what comes after it."""
    seq: int
    """Its number in the log; later events have higher ones."""
    type: str
    """`notes.note.pinned`"""
    subject: str
    """What it is about, `notes.note/<id>`."""
    actor: str
    time: Instant
    data: dict[str, Any]


class Subscription(AsyncIterator[Heard]):
    """Committed events, as they come. It listens from the moment it was made; `close`, or the end of `with`, ends it.

    Raises `Stale` when the log no longer has what comes next: load the state anew, then subscribe with `data.head`.
    """

    cursor: str
    """The place in the log after which it began to listen."""

    @abstractmethod
    def close(self) -> None:
        """Stop listening; a loop over it ends. Safe to call again."""

    def __aiter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
