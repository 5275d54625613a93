"""Who asks, and what that one may do."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Protocol

import msgspec

from coder_local._store.caller import Caller
from coder_local.api import Operation, Rights, Safety

ALL = frozenset(Safety)
MILD = frozenset({Safety.READ, Safety.WRITE})
"""The words that nobody is asked about."""


class Principal(msgspec.Struct, frozen=True):
    """A caller as the door it came in by knows it."""

    actor: str = "user"
    """`user`, `agent:<id>`, `plugin:<name>` or `peer:<id>`; stands in history."""
    workspace: str = "default"
    scopes: frozenset[Safety] = ALL
    domains: frozenset[str] | None = None
    """The domains it may speak to; None for all."""
    owner: bool = True
    """The person's own socket or token: exempt from rate limits."""
    token: str | None = None
    """Id of the scoped token it holds."""
    confirmed: frozenset[Safety] | None = None
    """In a call that an action makes: the safety word of that action, which was admitted already; with rights that were
    kept, the words that were agreed to. None at the doors."""

    counted: bool = False
    """Whether the door has counted this call against the limits of its token."""

    @property
    def person(self) -> bool:
        """Whether a person asks, not an agent or a program acting alone."""
        return self.actor == "user"

    @property
    def unbound(self) -> bool:
        """Whether no scope and no domain is closed to it."""
        return self.owner and self.domains is None and self.scopes >= ALL


OWNER = Principal()
"""The person whose daemon it is."""


def of_plugin(name: str) -> Principal:
    """Return who asks when a plugin does something by itself."""
    return Principal(actor=f"plugin:{name}", owner=False)


def rights_of(principal: Principal, confirmed: Iterable[Safety]) -> Rights:
    """Return what a caller may do as plain data, with what was agreed to for it."""
    agreed = frozenset(confirmed) - MILD
    return Rights(
        actor=principal.actor,
        workspace=principal.workspace,
        scopes=tuple(word for word in Safety if word in principal.scopes),
        domains=None if principal.domains is None else tuple(sorted(principal.domains)),
        owner=principal.owner,
        token=principal.token,
        confirmed=tuple(word for word in Safety if word in agreed),
    )


@functools.lru_cache(maxsize=256)  # each step of a run acts with the same
def principal_of(rights: Rights) -> Principal:
    """Return the caller that rights speak of."""
    scopes = frozenset(rights.scopes)
    return Principal(
        actor=rights.actor,
        workspace=rights.workspace,
        scopes=ALL if scopes >= ALL else scopes,  # the gate knows that very set from others at a glance
        domains=None if rights.domains is None else frozenset(rights.domains),
        owner=rights.owner,
        token=rights.token,
        confirmed=frozenset(rights.confirmed),
    )


def caller_of(principal: Principal, operation: str, request_id: str) -> Caller:
    """Return on whose behalf a call runs in the store."""
    return Caller(
        principal.actor,
        principal.workspace,
        operation,
        request_id,
        principal=None if principal.unbound else principal,
    )


class Gate(Protocol):
    """Decides whether a call may run; the admission layer provides it."""

    def limit(self, principal: Principal) -> None:
        """Count a call of a scoped token, whatever comes of it. Raises `RateLimited` or `Unauthenticated`."""
        ...

    def holds(self, principal: Principal) -> bool:
        """Tell whether a caller is still who it was: its token was not revoked."""
        ...

    def admit(self, principal: Principal, operation: Operation, raw: bytes, confirm: str | None) -> None:
        """Return if it may; raise `Refused` or `NeedsConfirmation` if not."""
        ...

    def may_hear(self, principal: Principal, event_type: str) -> bool:
        """Tell whether events of a type may be told to the caller."""
        ...


class OpenGate:
    """Lets everything through: for tests of a plugin without a daemon."""

    def limit(self, principal: Principal) -> None:
        """Return."""

    def holds(self, principal: Principal) -> bool:  # noqa: ARG002
        """Return True."""
        return True

    def admit(self, principal: Principal, operation: Operation, raw: bytes, confirm: str | None) -> None:
        """Return."""

    def may_hear(self, principal: Principal, event_type: str) -> bool:  # noqa: ARG002
        """Return True."""
        return True
