"""The feed: no gap, no double, no unbounded memory, and a reset when a cursor cannot be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coder_local._registry.kernel import Kernel
from coder_local._store import eventlog, feed
from coder_local._store.eventlog import Bounds, Published
from coder_local._store.feed import Feed, Reset, Subscription
from coder_local.api import Invalid

from .items import domain, insert, make_tables


class Listener:
    """Takes as many events as it is allowed to, and remembers all it was given."""

    def __init__(self, room: int = 10**9) -> None:
        self.heard: list[int] = []
        self.resets: list[Reset] = []
        self.room = room

    def deliver(self, events: Sequence[Published]) -> bool:
        self.heard += [event.seq for event in events]
        self.room -= len(events)
        return self.room > 0

    def listen(self, to: Feed, cursor: str | None = None, *, types: Sequence[str] = ()) -> Subscription:
        made = to.subscribe(cursor, types, (), self.deliver, self.resets.append)
        made.resume()
        return made


def said(kernel: Kernel, count: int) -> None:
    for _ in range(count):
        insert(kernel)


@pytest.fixture
def inline() -> Kernel:
    """A kernel in memory whose commits reach its feed at once."""
    made = Kernel()
    made.take(domain)
    made.open()
    make_tables(made)
    made.store._on_events = made.feed.publish
    return made


def test_events_come_in_order_and_once(inline: Kernel) -> None:
    listener = Listener()
    listener.listen(inline.feed)
    said(inline, 5)
    assert listener.heard == [1, 2, 3, 4, 5]


def test_a_cursor_gets_what_came_after_it(inline: Kernel) -> None:
    said(inline, 5)
    listener = Listener()
    listener.listen(inline.feed, f"{inline.feed.epoch}:2")
    said(inline, 1)
    assert listener.heard == [3, 4, 5, 6]


def test_types_are_exact_or_a_prefix(inline: Kernel) -> None:
    exact, prefix, other = Listener(), Listener(), Listener()
    exact.listen(inline.feed, types=["shelf.item.created"])
    prefix.listen(inline.feed, types=["shelf.*"])
    other.listen(inline.feed, types=["shelf.item"])
    said(inline, 1)
    assert (exact.heard, prefix.heard, other.heard) == ([1], [1], [])


def test_a_slow_listener_waits_and_misses_nothing_even_beyond_the_ring(
    inline: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RING", 4)
    slow_feed = Feed(inline.store.bounds, inline.store.events_after)
    inline.store._on_events = slow_feed.publish
    listener = Listener(room=1)
    subscription = listener.listen(slow_feed)
    said(inline, 20)
    assert listener.heard == [1]
    listener.room = 10**9
    subscription.resume()
    assert listener.heard == list(range(1, 21))


@pytest.mark.parametrize(("cursor", "reason"), [("other:1", "other_epoch"), ("{epoch}:99", "ahead")])
def test_a_cursor_that_cannot_be_served_is_told_to_reset(inline: Kernel, cursor: str, reason: str) -> None:
    said(inline, 3)
    with pytest.raises(Reset) as caught:
        inline.feed.place(cursor.replace("{epoch}", inline.feed.epoch))
    assert (caught.value.reason, caught.value.head) == (reason, f"{inline.feed.epoch}:3")


@pytest.mark.parametrize("cursor", ["", "x", "a:", ":", "a:-1", "a:1.5", "a:" + "9" * 30, "a:٣"])
def test_what_is_no_cursor_is_invalid(inline: Kernel, cursor: str) -> None:
    with pytest.raises(Invalid):
        inline.feed.place(cursor)


def test_a_replay_takes_one_batch_in_each_turn_of_the_loop_and_misses_nothing(inline: Kernel) -> None:
    said(inline, 2 * feed.BATCH + 10)
    turns: list[tuple[Callable[..., object], tuple[object, ...]]] = []
    inline.feed.soon = lambda function, *arguments: turns.append((function, arguments))
    listener = Listener()
    listener.listen(inline.feed, f"{inline.feed.epoch}:0")
    assert len(listener.heard) == feed.BATCH
    said(inline, 1)  # what is said meanwhile waits for its turn
    assert len(listener.heard) == feed.BATCH
    while turns:
        function, arguments = turns.pop(0)
        assert turns == []
        before = len(listener.heard)
        function(*arguments)
        assert len(listener.heard) - before <= feed.BATCH
    assert listener.heard == list(range(1, 2 * feed.BATCH + 12))


def trim(kernel: Kernel, keep: int) -> int:
    return kernel.store.write(lambda tx: eventlog.trim(tx.connection, tx.ms, rows_limit=keep))


def test_a_cursor_before_the_trimmed_part_is_too_old(inline: Kernel) -> None:
    said(inline, 10)
    assert trim(inline, 4) == 6
    with pytest.raises(Reset, match="too_old"):
        inline.feed.place(f"{inline.feed.epoch}:5")
    listener = Listener()
    listener.listen(inline.feed, f"{inline.feed.epoch}:6")
    assert listener.heard == [7, 8, 9, 10]


def test_a_listener_that_waits_while_the_log_is_trimmed_past_it_is_told(
    inline: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RING", 2)
    small = Feed(inline.store.bounds, inline.store.events_after)
    inline.store._on_events = small.publish
    listener = Listener(room=1)
    subscription = listener.listen(small)
    said(inline, 10)
    trim(inline, 3)
    listener.room = 10**9
    subscription.resume()
    said(inline, 1)
    assert [reset.reason for reset in listener.resets] == ["too_old"]
    assert listener.heard == [1, 11]


def test_trimming_goes_by_age_and_never_past_a_live_consumer(inline: Kernel) -> None:
    said(inline, 5)
    later = inline.store.clock.now_ms() + eventlog.KEEP_MS["normal"] + 1
    inline.store.write(
        lambda tx: tx.connection.execute(
            "INSERT INTO event_consumer (name, cursor, updated_at) VALUES ('t', 2, ?)", (later,)
        )
    )
    removed = inline.store.write(lambda tx: eventlog.trim(tx.connection, later))
    assert removed == 2
    silent = later + eventlog.SILENT_MS + 1
    assert inline.store.write(lambda tx: eventlog.trim(tx.connection, silent)) == 3


def test_numbers_are_not_given_again_after_trimming_all(inline: Kernel) -> None:
    said(inline, 3)
    trim(inline, 0)
    said(inline, 1)
    assert inline.store.bounds() == Bounds(inline.store.epoch, 3, 4)


class FeedMachine(RuleBasedStateMachine):
    """Any order of commits, pauses, resumes, reconnections: each listener hears every number after its cursor, once."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.kernel.take(domain)
        self.kernel.open()
        make_tables(self.kernel)
        self.feed = Feed(self.kernel.store.bounds, self.kernel.store.events_after)
        self.feed._ring = type(self.feed._ring)(maxlen=3)
        self.kernel.store._on_events = self.feed.publish
        self.listeners: list[tuple[Listener, Subscription, int]] = []
        self.head = 0

    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        said(self.kernel, count)
        self.head += count

    @rule(data=st.data(), room=st.integers(1, 10))
    def subscribe(self, data: st.DataObject, room: int) -> None:
        start = data.draw(st.integers(0, self.head))
        listener = Listener(room)
        self.listeners.append((listener, listener.listen(self.feed, f"{self.feed.epoch}:{start}"), start))

    @rule(data=st.data(), room=st.integers(1, 10))
    def drain(self, data: st.DataObject, room: int) -> None:
        if self.listeners:
            listener, subscription, _ = data.draw(st.sampled_from(self.listeners))
            listener.room = room
            subscription.resume()

    @invariant()
    def no_gap_and_no_double(self) -> None:
        for listener, subscription, start in self.listeners:
            assert listener.heard == list(range(start + 1, start + 1 + len(listener.heard)))
            if not subscription.paused:
                assert start + len(listener.heard) == self.head


TestFeedMachine = FeedMachine.TestCase
TestFeedMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
