"""A plugin's subscription to events: a few of them in memory, the rest waits in the log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from coder_local._store.eventlog import CloudEvent, Published
from coder_local._store.feed import BATCH, Feed, Reset
from coder_local.api import Heard, Stale, Subscription
from coder_local.api.errors import Unauthenticated

_decode = msgspec.json.Decoder(CloudEvent).decode


class Hearing(Subscription):
    """A subscription on the loop. Raises `Stale` where the log no longer has what comes after the cursor."""

    def __init__(
        self,
        feed: Feed,
        types: Sequence[str],
        subjects: Sequence[str],
        cursor: str | None,
        may_hear: Callable[[str], bool],
        holds: Callable[[], bool],
    ) -> None:
        self._may_hear = may_hear
        self._holds = holds
        self._events: deque[Published] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._reset: Reset | None = None
        try:
            self._inner = feed.subscribe(cursor, types, subjects, self._deliver, self._on_reset)
        except Reset as reset:
            raise gone(reset) from None
        self.cursor = f"{feed.epoch}:{self._inner.cursor}"

    async def __anext__(self) -> Heard:
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._events:
                return self._next()
            if self._reset is not None:
                self.close()
                raise gone(self._reset)
            if self._inner.paused:
                self._inner.resume()  # it may deliver at once
                continue
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _next(self) -> Heard:
        if not self._holds():
            self.close()
            raise Unauthenticated("this token was revoked", hint="make another with tokens.create")
        return heard(self._events.popleft())

    def _deliver(self, events: Sequence[Published]) -> bool:
        self._events.extend(event for event in events if self._may_hear(event.type))
        self._wake()
        return len(self._events) < BATCH

    def _on_reset(self, reset: Reset) -> None:
        self._reset = reset
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self._closed = True
        self._events.clear()
        self._inner.close()
        self._wake()


def heard(event: Published) -> Heard:
    """Return an event as a plugin hears it."""
    full = _decode(event.body)
    return Heard(
        id=full.id,
        seq=full.sequence,
        type=full.type,
        subject=full.subject,
        actor=full.actor,
        time=full.time,
        data=msgspec.json.decode(full.data),
    )


def gone(reset: Reset) -> Stale:
    """Return the answer for a cursor that the log cannot serve."""
    return Stale(
        f"the events after this cursor cannot be had: {reset.reason}",
        hint="load the state anew, then subscribe with data.head",
        data={"reason": reset.reason, "head": reset.head},
    )
