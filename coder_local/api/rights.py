"""What a caller may do, as plain data that outlives the call."""

from __future__ import annotations

from .operations import Safety
from .records import Value


class Rights(Value):
    """What a caller may do, to be used later on his behalf; it may be kept in a record, and serves after a restart.

    A token that was revoked meanwhile makes a later use `Unauthenticated`. Only what the daemon handed out is given
    back: a plugin that makes rights up speaks for somebody who never asked.
    """

    actor: str
    """`user`, `agent:<id>`, `plugin:<name>` or `peer:<id>`."""
    workspace: str
    scopes: tuple[Safety, ...]
    """The safety words of the operations he may call."""
    domains: tuple[str, ...] | None
    """The domains he may speak to; None for all."""
    owner: bool
    """The person's own socket or token."""
    token: str | None
    """Id of the scoped token that he holds."""
    confirmed: tuple[Safety, ...] = ()
    """The safety words beyond read and write that a person has agreed to for that work."""
