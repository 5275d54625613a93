"""Errors with names: one small family, mapped to every door's codes in one table.

Raise the class whose name says what happened; the transports translate. A message tells the reader what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with an input."""

    field: str
    """JSON pointer to the value, for example `/checklist/0/text`."""
    message: str
    hint: str | None = None


class Code(NamedTuple):
    """What an error kind is called at each door."""

    http: int
    exit: int
    rpc: int


class Error(Exception):
    """The base of all errors that reach a caller. Raise one of its subclasses.

    `field` is a JSON pointer into the input, `hint` the cure in one sentence, `data` machine-readable details.
    """

    kind: ClassVar[str] = "broken"
    code: ClassVar[Code] = Code(500, 70, -32603)

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        data: dict[str, Any] | None = None,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint
        self.data = dict(data or {})
        if faults:
            self.data["faults"] = [msgspec.to_builtins(fault) for fault in faults]

    def to_wire(self) -> dict[str, Any]:
        """Return the one shape that every transport sends: `{kind, message, field?, hint?, data?}`."""
        wire: dict[str, Any] = {"kind": self.kind, "message": self.message}
        if self.field is not None:
            wire["field"] = self.field
        if self.hint is not None:
            wire["hint"] = self.hint
        if self.data:
            wire["data"] = self.data
        return wire


class Invalid(Error):
    """The input fails its schema or a rule. All faults are named at once."""

    kind = "invalid"
    code = Code(422, 2, -32602)


class NotFound(Error):
    """There is no such record, or the caller may not see it (the answer is the same)."""

    kind = "not_found"
    code = Code(404, 3, -32000)


class UnknownOperation(NotFound):
    """There is no operation of that name."""

    code = Code(404, 3, -32601)


class Conflict(Error):
    """A uniqueness, a state or a cycle stands against it; `data` says which."""

    kind = "conflict"
    code = Code(409, 4, -32000)


class Stale(Error):
    """`if_rev` does not match; `data.current` carries the newer record."""

    kind = "stale"
    code = Code(412, 5, -32000)


class Refused(Error):
    """A policy or a missing permission; the message says which rule and how to change it."""

    kind = "refused"
    code = Code(403, 6, -32000)


class Unauthenticated(Refused):
    """There is no valid token."""

    code = Code(401, 6, -32000)


class NeedsConfirmation(Error):
    """The safety word asks for a person; `data.confirm` is a single-use token bound to the exact input."""

    kind = "needs_confirmation"
    code = Code(428, 7, -32000)


class Locked(Error):
    """Secrets are locked, the database is busy, or a plugin is migrating."""

    kind = "locked"
    code = Code(423, 8, -32000)


class TooLarge(Error):
    """Over a stated limit; `data.limit` is that limit."""

    kind = "too_large"
    code = Code(413, 2, -32000)


class RateLimited(Error):
    """Too many calls; `data.retry_after_ms` says when to come back."""

    kind = "rate_limited"
    code = Code(429, 9, -32000)


class Offline(Error):
    """An external operation without a network; `data.queued` is true if an outbox took it."""

    kind = "offline"
    code = Code(503, 10, -32000)


class TimedOut(Error):
    """The deadline passed or the caller cancelled; the message says whether the work goes on."""

    kind = "timeout"
    code = Code(504, 11, -32000)


class Unsupported(Error):
    """The feature exists, but not on this platform, version or set of plugins; the message names what to enable."""

    kind = "unsupported"
    code = Code(501, 12, -32000)


class Broken(Error):
    """Our fault. Carries `data.report_id`, which is in the log; never a stack trace."""


KINDS: dict[str, type[Error]] = {
    error.kind: error
    for error in (
        Invalid, NotFound, Conflict, Stale, Refused, NeedsConfirmation, Locked, TooLarge,
        RateLimited, Offline, TimedOut, Unsupported, Broken,
    )
}  # fmt: skip
"""Every kind that may stand on the wire, with the class that is raised for it."""
