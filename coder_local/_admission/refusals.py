"""Lines of audit on requests that the doors of HTTP refused, so few that a hostile page cannot fill the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from coder_local._store import audit
from coder_local._store.caller import Caller
from coder_local._store.store import Store
from coder_local.api import Error, RateLimited
from coder_local.api.errors import Unauthenticated

from .limits import Now, TokenBucket

_log = logging.getLogger("coder_local.audit")
LINES_AT_ONCE = 20
"""Lines on refusals of one kind that are written as they come, after a rest."""
LINES_EVERY = 3600.0
"""Seconds between two lines on refusals of one kind after that; a line then stands for all that came meanwhile."""
OPERATION = "http.request"
"""What the lines have for an operation."""
ACTOR = "unknown"
_LONGEST = 300
_CALLER = Caller(actor="daemon", operation="audit")


class Request(NamedTuple):
    """What a refused request said of itself; all of it is the stranger's word."""

    method: str
    path: str
    """Without the query, which may hold a secret."""
    host: str
    origin: str | None
    id: str


class Refusals:
    """Writes the lines. `now` is a clock in seconds that is never set back; to be used on the loop."""

    def __init__(self, store: Store, now: Now = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._buckets: dict[str, TokenBucket] = {}
        self._untold: dict[str, tuple[int, Error, Request]] = {}
        """By kind of refusal: how many were not written down yet, and the last of them."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def note(self, error: Error, request: Request) -> None:
        """Write a refusal down, at once or with those that come after it."""
        rule = _rule(error)
        bucket = self._buckets.setdefault(rule, TokenBucket(1 / LINES_EVERY, LINES_AT_ONCE, self._now))
        count, *_ = self._untold.get(rule, (0,))
        self._untold[rule] = count + 1, error, request
        if rule in self._timers:
            return
        if wait := bucket.wait():
            self._timers[rule] = asyncio.get_running_loop().call_later(wait, self._tell, rule)
        else:
            self._tell(rule)

    def close(self) -> None:
        """Write down what was not yet: the server stops."""
        for timer in self._timers.values():
            timer.cancel()
        for rule in list(self._untold):
            self._tell(rule)

    def _tell(self, rule: str) -> None:
        self._timers.pop(rule, None)
        count, error, request = self._untold.pop(rule)
        self._buckets[rule].take()
        entry = audit.Entry(
            ACTOR, None, "", OPERATION, "", error.kind, request.id, "", _detail(rule, request, count)
        )  # fmt: skip
        self._store.submit(lambda scope: audit.add(scope, entry), _CALLER, _written)


def _rule(error: Error) -> str:
    """Return what was broken: `host`, `origin`, `token` or `rate`."""
    if isinstance(error, Unauthenticated):
        return "token"
    return "rate" if isinstance(error, RateLimited) else str((error.data or {}).get("rule", error.kind))


def _detail(rule: str, request: Request, count: int) -> str:
    origin = "" if request.origin is None else f", origin {request.origin[:_LONGEST]}"
    more = f"; the last of {count}" if count > 1 else ""
    said = f"{rule}: {request.method[:20]} {request.path[:_LONGEST]}, host {request.host[:_LONGEST]}{origin}{more}"
    return said.encode("ascii", "backslashreplace").decode()  # its bytes may be anything


def _written(_: object, error: BaseException | None) -> None:
    if error is not None:
        _log.error("a line of audit could not be written: %s", error)
