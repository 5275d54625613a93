"""Calls that came before what they ask for was loaded, and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from typing import Generic, TypeVar

Cancel = Callable[[], None]


C = TypeVar("C")


class AllBut(Container[str]):
    """All names of operations but those of one domain."""

    def __init__(self, domain: str) -> None:
        self._prefix = f"{domain}."

    def __contains__(self, name: object) -> bool:
        return not str(name).startswith(self._prefix)


class Held(Generic[C]):
    """Keeps calls in the order in which they came. `start` begins one, `drop` answers one that was cancelled before."""

    def __init__(
        self,
        besides: Container[str],
        start: Callable[[C], Cancel | None],
        drop: Callable[[C], None],
        *,
        inner: bool = True,
    ) -> None:
        self.besides = besides
        """Names of operations that need not wait."""
        self.inner = inner
        """Whether calls made inside another one wait too; where that one is waited for, they must not."""
        self.ended = asyncio.Event()
        """Set when nothing is held any more."""
        self._start = start
        self._drop = drop
        self._waiting: list[_Waiting[C]] = []

    def take(self, call: C) -> Cancel:
        """Keep a call, and return what cancels it, now and once it has begun."""
        waiting = _Waiting(call, self._drop)
        self._waiting.append(waiting)
        return waiting.cancel

    def release(self) -> None:
        """Begin all."""
        self.ended.set()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.begin(self._start)


class _Waiting(Generic[C]):
    __slots__ = ("_call", "_cancel", "_drop")

    def __init__(self, call: C, drop: Callable[[C], None]) -> None:
        self._call: C | None = call
        self._drop = drop
        self._cancel: Cancel | None = None

    def begin(self, start: Callable[[C], Cancel | None]) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._cancel = start(call)

    def cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._drop(call)
        elif self._cancel is not None:
            self._cancel()
