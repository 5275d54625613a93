"""Calls that came before what they ask for was loaded, and wait for it."""

from __future__ import annotations

import asyncio
import time
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
    """Keeps calls in the order in which they came, but for those of the operations of `besides`.

    `start` begins one, `drop` answers one that was cancelled before.
    """

    def __init__(
        self,
        besides: Container[str],
        start: Callable[[C], Cancel | None],
        drop: Callable[[C], None],
        *,
        inner: bool = True,
    ) -> None:
        self._besides = besides
        self._let: set[str] = set()
        self.inner = inner
        """Whether calls made inside another one wait too; where that one is waited for, they must not."""
        self.ended = asyncio.Event()
        """Set when nothing is held any more."""
        self._start = start
        self._drop = drop
        self._waiting: list[_Waiting[C]] = []

    def holds(self, name: str) -> bool:
        """Tell whether calls of an operation wait."""
        return name not in self._besides and name not in self._let

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

    def let(self, names: frozenset[str], name_of: Callable[[C], str]) -> None:
        """Begin those of some operations, and let such ones wait no more."""
        self._let |= names
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.call is not None and name_of(each.call) in names:
                each.begin(self._start)
            else:
                self._waiting.append(each)

    def tell(self, report: Callable[[C], None]) -> None:
        """Tell all that wait why they do."""
        for each in self._waiting:
            if each.call is not None:
                report(each.call)

    def refuse(self, answer: Callable[[C], None], over: float) -> None:
        """Answer those that have waited longer than `over` seconds, and let them go."""
        before = time.monotonic() - over
        late = [each for each in self._waiting if each.since <= before]
        self._waiting = [each for each in self._waiting if each.since > before]
        for each in late:
            each.begin(answer)


class _Waiting(Generic[C]):
    __slots__ = ("_cancel", "_drop", "call", "since")

    def __init__(self, call: C, drop: Callable[[C], None]) -> None:
        self.call: C | None = call
        self.since = time.monotonic()
        self._drop = drop
        self._cancel: Cancel | None = None

    def begin(self, start: Callable[[C], Cancel | None]) -> None:
        call, self.call = self.call, None
        if call is not None:
            self._cancel = start(call)

    def cancel(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            self._drop(call)
        elif self._cancel is not None:
            self._cancel()
