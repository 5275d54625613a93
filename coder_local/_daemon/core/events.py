"""`events.list`: the event log by page, for who does not listen. Listening is a method of each transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from coder_local._registry.standard import Limit
from coder_local._store import eventlog
from coder_local._store.clock import instant
from coder_local._store.eventlog import Bounds, CloudEvent
from coder_local._store.scope import ReadScope, bind
from coder_local.api import Domain, Invalid, Snapshot, Value

from .work import domains_of, reading

EventCursor = Annotated[str, Meta(max_length=100)]
"""`<epoch>:<seq>`, the id of the last event seen."""
EventTypes = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=100)]
"""Names of events, exact or ending in `*` (`notes.*`)."""
_COLUMNS = "seq, at, type, subject, actor, data"
_WANTED = (
    "(:any OR event.type IN (SELECT value FROM json_each(:exact))"
    " OR EXISTS (SELECT 1 FROM json_each(:prefixes) WHERE substr(event.type, 1, length(value)) = value))"
    " AND (:everywhere OR substr(event.type, 1, instr(event.type, '.') - 1) IN (SELECT value FROM json_each(:domains)))"
)


class EventPage(Value):
    """Some events, oldest first."""

    items: list[CloudEvent]
    cursor: str
    """Give it as `cursor` to get what comes after."""
    head: str
    """The cursor of the newest event there is."""
    reset: Literal["too_old", "other_epoch", "ahead"] | None = None
    """Why the cursor could not be served: load the state anew, then go on from `cursor`."""


def declare() -> Domain:
    """Return the domain."""
    domain = Domain("events")

    @domain.query("events.list")
    def list_events(
        read: Snapshot, *, cursor: EventCursor | None = None, types: EventTypes | None = None, limit: Limit = 50
    ) -> EventPage:
        """List events after a cursor, oldest first; without a cursor the newest ones.

        The holder of a token for some domains is told of their events alone.

        To be told of events as they happen, subscribe: `events.subscribe` on the socket, `/events` or `/ws` over HTTP.
        """
        scope = reading(read)
        bounds = eventlog.bounds(scope.connection)
        head = f"{bounds.epoch}:{bounds.head}"
        if cursor is None:
            return EventPage(items=_newest(scope, bounds, types, limit), cursor=head, head=head)
        after, reset = _place(cursor, bounds)
        if reset is not None:
            return EventPage(items=[], cursor=head, head=head, reset=reset)
        items = _after(scope, bounds, after, types, limit)
        return EventPage(items=items, cursor=items[-1].id if len(items) == limit else head, head=head)

    return domain


def _place(cursor: str, bounds: Bounds) -> tuple[int, Literal["too_old", "other_epoch", "ahead"] | None]:
    epoch, colon, number = cursor.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Invalid(f"{cursor!r} is no cursor", field="/cursor", hint="give the id of the last event you saw")
    after = int(number)
    if epoch != bounds.epoch:
        return after, "other_epoch"
    if after > bounds.head:
        return after, "ahead"
    return after, "too_old" if after < bounds.low else None


def _after(scope: ReadScope, bounds: Bounds, after: int, types: list[str] | None, limit: int) -> list[CloudEvent]:
    values = {**_filter(scope, types), "after": after, "limit": limit}
    rows = scope.connection.execute(
        f"SELECT {_COLUMNS} FROM event WHERE seq > :after AND {_WANTED} ORDER BY seq LIMIT :limit",  # noqa: S608
        bind(values),
    )
    return [_event(bounds.epoch, row) for row in rows]


def _newest(scope: ReadScope, bounds: Bounds, types: list[str] | None, limit: int) -> list[CloudEvent]:
    rows = scope.connection.execute(
        f"SELECT {_COLUMNS} FROM event WHERE {_WANTED} ORDER BY seq DESC LIMIT :limit",  # noqa: S608
        bind({**_filter(scope, types), "limit": limit}),
    )
    return [_event(bounds.epoch, row) for row in rows][::-1]


def _filter(scope: ReadScope, types: list[str] | None) -> dict[str, Any]:
    exact = [each for each in types or () if not each.endswith("*")]
    prefixes = [each[:-1] for each in types or () if each.endswith("*")]
    domains = domains_of(scope)
    return {
        "any": not types,
        "exact": exact,
        "prefixes": prefixes,
        "everywhere": domains is None,
        "domains": sorted(domains or ()),
    }


def _event(epoch: str, row: Sequence[Any]) -> CloudEvent:
    seq, at, type_, subject, actor, data = row
    return CloudEvent(
        id=f"{epoch}:{seq}",
        type=type_,
        subject=subject,
        time=instant(at),
        sequence=seq,
        actor=actor,
        data=msgspec.Raw(data),
    )
