"""`tokens.*`: scoped tokens for agents and programs, made and taken back by the person."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coder_local._admission import tokens
from coder_local._admission.limits import Limits
from coder_local._admission.tokens import NewToken, TokenInfo
from coder_local._registry.kernel import Kernel
from coder_local._store.scope import WriteScope
from coder_local.api import Context, Domain, Id, Safety, Snapshot, Value

from .work import reading, write

TokenName = Annotated[str, Meta(min_length=1, max_length=100)]
AgentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
Scopes = Annotated[list[Safety], Meta(min_length=1, max_length=4)]
Domains = Annotated[list[Annotated[str, Meta(min_length=1, max_length=31)]], Meta(min_length=1, max_length=100)]


class TokenList(Value):
    """All tokens."""

    items: list[TokenInfo]
    """The newest first, revoked ones among them."""


def declare(kernel: Kernel) -> Domain:
    """Return the domain."""
    domain = Domain("tokens")

    # An action, because a command's answer may be kept for its idempotency key, and the text must not be kept.
    @domain.action("tokens.create", safety=Safety.WRITE, person_only=True)
    async def create(
        ctx: Context,
        *,
        name: TokenName,
        scopes: Scopes,
        domains: Domains | None = None,
        agent: AgentId | None = None,
        limits: Limits | None = None,
    ) -> NewToken:
        """Make a token for an agent or a program, and return its text, which cannot be read again.

        `scopes` are the safety words that its holder may call, `domains` those it may speak to (all without), `agent`
        the id that stands in history (else made from the name). Its holder never counts as a person.
        """

        def work(scope: WriteScope) -> NewToken:
            actor = None if agent is None else f"agent:{agent}"
            return tokens.create(scope, name=name, scopes=scopes, domains=domains, actor=actor, limits=limits)

        return await write(kernel, ctx, "tokens.create", work)

    @domain.query("tokens.list", person_only=True)
    def list_tokens(read: Snapshot) -> TokenList:
        """List the tokens with what each may do and when it was last used; never their texts."""
        return TokenList(items=tokens.list_tokens(reading(read)))

    @domain.action("tokens.revoke", safety=Safety.DESTRUCTIVE, person_only=True)
    async def revoke(ctx: Context, *, id: Id) -> TokenInfo:
        """Make a token worthless from the next call on, also on connections that are open. It cannot be taken back."""
        return await write(kernel, ctx, "tokens.revoke", lambda scope: tokens.revoke(scope, id))

    return domain
