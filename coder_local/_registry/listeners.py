"""Durable listeners: a plugin's function is called for each event once, in the transaction that saves its place.

The feed wakes them. A batch of events is one transaction, each event in a savepoint of its own; the transaction begins
at the place that is saved, so that an event which was committed is never handled again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from coder_local._store import consumers
from coder_local._store.caller import Caller
from coder_local._store.consumers import Place
from coder_local._store.eventlog import Published
from coder_local._store.feed import BATCH, Feed, Reset, Subscription
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.store import Store
from coder_local.api import Locked, TimedOut
from coder_local.api.operations import Listener

from . import elsewhere
from .answers import settle
from .plugins import Plugin
from .principal import of_plugin

if TYPE_CHECKING:
    from .context import OutsideContext
    from .remote import RemotePlugin

_log = logging.getLogger("coder_local.listeners")
BACK_OFF: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
"""Seconds before an event that failed is tried again; after the last of them it is parked."""
DEPTH = 8
"""How many events may lead to each other before a listener takes them for a loop."""
DEADLINE = 10.0
"""Seconds that a batch may take."""
_BRIEF = 1.0
"""Seconds after which a batch is committed as far as it came: the writer serves others too."""


class Listeners:
    """The listeners of the plugins that began."""

    def __init__(self, store: Store, troubled: Callable[[str, BaseException], str] = lambda _name, _error: "") -> None:
        self.back_off = BACK_OFF
        self.troubled = troubled
        """Told of each attempt that failed, on the writer's thread; returns the report's id."""
        self.context: Callable[[Caller], OutsideContext]
        """Makes the context that a listener in another process asks by."""
        self._store = store
        self._running: dict[str, _Running] = {}

    async def enrol(self, plugin: Plugin) -> None:
        """Give a plugin's new listeners their first place: the head of the log."""
        if plugin.domain is None or not plugin.domain.listeners:
            return
        names = tuple(plugin.domain.listeners)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        caller = Caller(actor="daemon", operation="events.enrol")
        self._store.submit(lambda scope: consumers.enrol(scope, names), caller, settle(future))
        await future

    def start(self, plugin: Plugin, feed: Feed) -> None:
        """Let a plugin's listeners listen from where they were."""
        self.stop(plugin)
        for listener in () if plugin.domain is None else plugin.domain.listeners.values():
            self._running[listener.name] = _Running(self, self._store, feed, plugin, listener)

    def stop(self, plugin: Plugin) -> None:
        """Let a plugin's listeners listen no more; what runs comes to its end."""
        for name in [name for name, each in self._running.items() if each.plugin.name == plugin.name]:
            self._running.pop(name).close()

    def save(self) -> None:
        """Have the places written of those that only heard what is not for them: trimming the log waits for them."""
        places = {name: each.place for name, each in self._running.items() if each.idle}
        if places:
            caller = Caller(actor="daemon", operation="events.save")
            self._store.submit(lambda scope: consumers.move(scope, places), caller, lambda _result, _error: None)

    @property
    def idle(self) -> bool:
        """Whether all have heard all that was said."""
        return all(each.idle for each in self._running.values())


class _Running:
    """One listener at work. Everything but `_work` runs on the loop."""

    def __init__(self, owner: Listeners, store: Store, feed: Feed, plugin: Plugin, listener: Listener) -> None:
        self.plugin = plugin
        self._owner = owner
        self._store = store
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[int] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._hearing: asyncio.Task[None] | None = None
        """Held: the loop itself keeps no task alive."""
        self._careful = False
        """Whether events go one by one, because a batch took too long and nobody knows which of them it was."""
        self._subscription: Subscription = self._subscribe(feed)
        self._subscription.resume()

    def _subscribe(self, feed: Feed) -> Subscription:
        bounds = self._store.bounds()
        place = self._store.read(lambda scope: consumers.place_of(scope, self._listener.name), Caller())
        if place < bounds.low:
            self._lost(f"events {place + 1} to {bounds.low}")
        cursor = f"{bounds.epoch}:{max(place, bounds.low)}"
        return feed.subscribe(cursor, self._listener.types, (), self._deliver, self._on_reset)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it."""
        return not self._busy and not self._waiting and self._timer is None

    @property
    def place(self) -> int:
        """The number up to which all was heard, of one that is idle."""
        return self._subscription.cursor

    def close(self) -> None:
        """Listen no more."""
        self._subscription.close()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self, events: Sequence[Published]) -> bool:
        self._waiting.extend(event.seq for event in events)
        self._wake()
        return len(self._waiting) < BATCH

    def _on_reset(self, reset: Reset) -> None:
        self._lost(f"the events before {reset.head}")

    def _lost(self, what: str) -> None:
        _log.error("%s was silent for too long: %s are gone from the log", self._listener.name, what)

    def _wake(self) -> None:
        if self._waiting and not self._busy and self._timer is None:
            self._busy = True
            self._loop.call_soon(self._go)  # a store in memory would run it inside the commit that said the event

    def _go(self) -> None:
        if not self._waiting or not self.plugin.loaded:
            self._busy = False
            self.close()
            return
        if self.plugin.process is not None:
            self._hearing = self._loop.create_task(self._elsewhere(self.plugin.process.remote, self._waiting[0]))
            return
        taken = list(self._waiting)[: 1 if self._careful else BATCH]
        self._submit(lambda scope: self._work(scope, taken))

    def _submit(self, work: Callable[[WriteScope], Place]) -> None:
        caller = Caller(actor="daemon", operation=self._listener.name)
        self._store.submit(work, caller, self._done, deadline=DEADLINE)

    async def _elsewhere(self, apart: RemotePlugin, seq: int) -> None:
        """Have an event heard in the plugin's process, and what it did committed with the place in the log."""
        name = self._listener.name
        try:
            place = await elsewhere.hear(apart, self._store, self._owner.context, name, seq, self._prepare)
        except Locked as error:
            self._done(None, error)  # the process is just being started: no fault of the event
        except Exception as caught:  # noqa: BLE001 - a plugin's fault, which is counted
            if self._subscription.closed:  # it was disabled meanwhile, which ended its process
                return
            error_ = caught
            self._submit(
                lambda scope: self._fail(
                    scope, consumers.found(scope, name), seq, error_, at_once=isinstance(error_, _Loop)
                )
            )
        else:
            self._done(place, None)

    def _done(self, place: Place | None, error: BaseException | None) -> None:
        self._busy = False
        if error is not None:
            self._went_wrong(error)
            return
        assert place is not None, "without an error there is a result"  # noqa: S101 - for the type checker
        while self._waiting and self._waiting[0] <= place.cursor:
            self._waiting.popleft()
        self._careful = self._careful and bool(self._waiting)
        if place.failures:
            self._later(self._owner.back_off[place.failures - 1])
        elif self._waiting:
            self._wake()
        elif self._subscription.paused:
            self._subscription.resume()

    def _went_wrong(self, error: BaseException) -> None:
        """Try again what was rolled back as a whole: a time limit is an event's fault, a full disk is nobody's."""
        if not isinstance(error, TimedOut):
            _log.error("%s waits: %s", self._listener.name, error)
            self._later(BACK_OFF[-1])
        elif self._careful and self._waiting:
            seq = self._waiting[0]
            self._busy = True
            self._submit(lambda scope: self._fail(scope, consumers.found(scope, self._listener.name), seq, error))
        else:
            self._careful = True
            self._wake()

    def _later(self, seconds: float) -> None:
        if self._subscription.closed:
            return
        self._timer = self._loop.call_later(seconds, self._again)

    def _again(self) -> None:
        self._timer = None
        self._wake()

    # -- in the transaction -------------------------------------------------------------------------------------------

    def _work(self, scope: WriteScope, taken: Sequence[int]) -> Place:
        begun = time.monotonic()
        place = consumers.found(scope, self._listener.name)
        for event in consumers.events(scope, self._store.epoch, place.cursor, taken):
            try:
                self._handle(scope, event)
            except Exception as error:
                if not scope.connection.in_transaction:
                    raise
                place = self._fail(scope, place, event.heard.seq, error, at_once=isinstance(error, _Loop))
                if place.failures:
                    return place
            else:
                place = Place(event.heard.seq)
            if time.monotonic() - begun > _BRIEF:
                break
        else:
            place = Place(max(place.cursor, taken[-1]))  # what is no longer in the log is not waited for
        consumers.keep(scope, self._listener.name, place)
        return place

    def _handle(self, scope: WriteScope, event: consumers.Event) -> None:
        with scope.part(self._prepare(scope, event)) as inner:
            self._listener.function(inner, event=event.heard)

    def _prepare(self, scope: ReadScope, event: consumers.Event) -> Caller:
        """Return on whose behalf an event is heard. Raises `_Loop` if too many led to it."""
        if event.depth >= DEPTH:
            raise _Loop("this looks like a loop of events: " + " led to ".join(consumers.chain(scope, event, DEPTH)))
        return Caller(
            f"plugin:{self.plugin.name}",
            event.workspace,
            self._listener.name,
            cause=event.heard.seq,
            depth=event.depth + 1,
            principal=msgspec.structs.replace(of_plugin(self.plugin.name), workspace=event.workspace),
            confirmed=frozenset(),
        )

    def _fail(self, scope: WriteScope, place: Place, seq: int, error: BaseException, *, at_once: bool = False) -> Place:
        """Count a failure, and park the event after the last one; return the place that was saved."""
        name, attempts = self._listener.name, place.failures + 1
        text = f"{type(error).__name__}: {error}"[:1000]
        extra = {"plugin": self.plugin.name, "report_id": self._owner.troubled(name, error)}
        if at_once or attempts > len(self._owner.back_off):
            _log.error("%s parked event %d: %s", name, seq, text, exc_info=error, extra=extra)
            consumers.park(scope, name, seq, text, attempts)
            place = Place(seq)
        else:
            _log.warning("%s failed at event %d: %s", name, seq, text, exc_info=error, extra=extra)
            place = place._replace(failures=attempts)
        consumers.keep(scope, name, place, text)
        return place


class _Loop(Exception):
    """Too many events led to each other."""
