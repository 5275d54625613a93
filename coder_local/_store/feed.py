"""Pushing committed events to those who listen, without a gap and without growing memory.

A subscriber is a cursor and a way to write. The feed keeps one ring of the newest events, encoded once for all; whoever
is behind the ring reads the log. So a slow subscriber costs nothing while it is slow, and misses nothing when it is
back. Everything here runs on the event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from coder_local.api import Invalid

from .eventlog import Bounds, EventRow, Published

RING = 1024
"""Events that are kept in memory for subscribers at the head."""
BATCH = 256
"""Events that a subscriber reads from the log at a time."""

Deliver = Callable[[Sequence[Published]], bool]
"""Takes events, oldest first, and tells whether more may come now; if not, the owner calls `resume` later."""


class Subscription:
    """One listener: where it is, what it wants, how to reach it."""

    def __init__(
        self,
        feed: Feed,
        cursor: int,
        types: Sequence[str],
        subjects: Sequence[str],
        deliver: Deliver,
        on_reset: Callable[[Reset], None],
    ) -> None:
        self._feed = feed
        self.on_reset = on_reset
        self.cursor = cursor
        self._types = _matcher(types)
        self._subjects = _matcher(subjects)
        self._deliver = deliver
        self.paused = False
        self.closed = False
        self.scheduled = False
        """Whether it goes on in the next turn of the loop."""

    def resume(self) -> None:
        """Go on after `deliver` had said to wait."""
        self.paused = False
        self._feed.pump(self)

    def take(self, events: Sequence[Published]) -> None:
        """Deliver what is wanted of some events, and move the cursor past all of them."""
        types, subjects = self._types, self._subjects
        wanted = [event for event in events if types(event.type) and subjects(event.subject)]
        self.cursor = events[-1].seq
        if wanted and not self._deliver(wanted):
            self.paused = True

    def close(self) -> None:
        """Stop listening."""
        self.closed = True
        self._feed.discard(self)


class Reset(Exception):
    """The cursor cannot be served: load the state anew, then go on from `head`."""

    def __init__(self, reason: str, bounds: Bounds) -> None:
        super().__init__(reason)
        self.reason = reason
        self.head = f"{bounds.epoch}:{bounds.head}"


class Feed:
    """All subscriptions of one store."""

    def __init__(self, bounds: Callable[[], Bounds], read: Callable[[int, int], list[Published]]) -> None:
        first = bounds()
        self.soon: Callable[..., object] | None = None
        """The loop's `call_soon`: a replay takes one batch in each turn. Without it, it goes to the end at once."""
        self.epoch = first.epoch
        self.head = first.head
        self._bounds = bounds
        self._read = read
        self._ring: deque[Published] = deque(maxlen=RING)
        self._subscriptions: set[Subscription] = set()

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(
        self,
        cursor: str | None,
        types: Sequence[str],
        subjects: Sequence[str],
        deliver: Deliver,
        on_reset: Callable[[Reset], None],
    ) -> Subscription:
        """Listen from after a cursor (from the head without one); call `resume` on the answer to begin.

        Raises `Reset` if the cursor is too old, of another epoch or ahead of the head, `Invalid` if it is no cursor.
        `on_reset` is told if later the log is trimmed past a subscriber that waits; it then goes on from the head.
        """
        subscription = Subscription(self, self.place(cursor), types, subjects, deliver, on_reset)
        subscription.paused = True
        self._subscriptions.add(subscription)
        return subscription

    def place(self, cursor: str | None) -> int:
        """Return the number that a cursor stands for. Raises `Reset` or `Invalid`."""
        if cursor is None:
            return self.head
        epoch, colon, number = cursor.rpartition(":")
        if not colon or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise Invalid(
                f"{cursor[:80]!r} is no cursor", field="/cursor", hint="give the id of the last event you saw"
            )
        bounds = self._bounds()
        if epoch != bounds.epoch:
            raise Reset("other_epoch", bounds)
        if int(number) > max(bounds.head, self.head):
            raise Reset("ahead", bounds)
        if int(number) < bounds.low:
            raise Reset("too_old", bounds)
        return int(number)

    def publish(self, rows: Sequence[EventRow]) -> None:
        """Take in what was committed, in order."""
        before, self.head = self.head, rows[-1][0]
        if not self._subscriptions:  # whoever comes later reads the log
            self._ring.clear()
            return
        events = [Published(self.epoch, row) for row in rows]
        self._ring.extend(events)
        for subscription in list(self._subscriptions):
            if subscription.paused or subscription.scheduled:
                continue
            if subscription.cursor == before:
                subscription.take(events)
            else:
                self.pump(subscription)

    def pump(self, subscription: Subscription) -> None:
        """Bring a subscriber to the head, or to where it asks to wait, so that everybody else has a turn meanwhile."""
        while not subscription.scheduled and self._next_batch(subscription):
            if self.soon is not None:
                subscription.scheduled = True
                self.soon(self._go_on, subscription)

    def _go_on(self, subscription: Subscription) -> None:
        subscription.scheduled = False
        self.pump(subscription)

    def _next_batch(self, subscription: Subscription) -> bool:
        """Deliver one batch, and tell whether there is more for it now."""
        if not self._is_behind(subscription):
            return False
        if self._ring and self._ring[0].seq <= subscription.cursor + 1:
            events = [event for event in self._ring if event.seq > subscription.cursor][:BATCH]
        else:
            bounds = self._bounds()
            if subscription.cursor < bounds.low:
                subscription.cursor = bounds.head
                subscription.on_reset(Reset("too_old", bounds))
                return self._is_behind(subscription)
            events = self._read(subscription.cursor, BATCH)
        if not events:
            subscription.cursor = self.head  # numbers above were rolled back or trimmed
            return False
        subscription.take(events)
        return self._is_behind(subscription)

    def _is_behind(self, subscription: Subscription) -> bool:
        return not subscription.paused and subscription.cursor < self.head and subscription in self._subscriptions

    def discard(self, subscription: Subscription) -> None:
        """Forget a subscriber."""
        self._subscriptions.discard(subscription)


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    if not patterns:
        return lambda _: True
    exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return lambda text: text in exact or text.startswith(prefixes)
