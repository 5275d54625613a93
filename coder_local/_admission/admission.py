"""The gate that every call passes, whatever door it came in by."""

from __future__ import annotations

import os
import time

from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import ALL, OWNER, Principal
from coder_local.api import Error, Operation, Refused, Safety
from coder_local.api.errors import Unauthenticated

from .confirmation import Confirmations
from .limits import Limiters, Now, TokenBucket, limited
from .tokens import Tokens

FAILED_PER_SECOND, FAILED_BURST = 10, 20
"""Failed authentications that are looked at; a valid token is never held up by them."""
_FREE = frozenset({Safety.READ, Safety.WRITE})


class Admission:
    """Decides who a caller is and what it may do. `now` is a clock in seconds that is never set back."""

    def __init__(self, kernel: Kernel, *, owner_token: str | None = None, now: Now = time.monotonic) -> None:
        self.owner_token = owner_token or os.urandom(32).hex()
        """The text of the owner's token, for `runtime.json`; another at each start."""
        self.tokens = Tokens(kernel.store)
        self._owner = self.owner_token.encode()
        self._limiters = Limiters(now)
        self._failed = TokenBucket(FAILED_PER_SECOND, FAILED_BURST, now)
        self._confirmations = Confirmations(now)

    # -- who ----------------------------------------------------------------------------------------------------------

    def authenticate(self, text: str) -> Principal:
        """Return who holds a token. Raises `Unauthenticated`, or `RateLimited` after too many failures."""
        import hmac  # noqa: PLC0415 - 2 ms, and not at every start: the socket needs no token

        if hmac.compare_digest(text.encode("utf-8", "replace"), self._owner):
            return OWNER
        found = self.tokens.authenticate(text)
        if found is None:
            raise self.unauthenticated("this token is not valid, or was revoked")
        return found

    def unauthenticated(self, message: str) -> Error:
        """Return the answer to a caller without a valid token, and count the failure."""
        if wait := self._failed.wait():
            return limited("too many calls without a valid token", wait)
        self._failed.take()
        return Unauthenticated(
            message, hint="send the token of runtime.json, or one made by tokens.create, as a bearer token"
        )

    def holds(self, principal: Principal) -> bool:
        """Tell whether a caller of an open connection is still who it was: its token was not revoked."""
        return principal.token is None or self.tokens.valid(principal.token)

    # -- what ---------------------------------------------------------------------------------------------------------

    def admit(self, principal: Principal, operation: Operation, raw: bytes, confirm: str | None) -> None:
        """Return if the call may run; `limit` has counted it. Raises `Refused` or `NeedsConfirmation`."""
        safety = operation.safety
        if (
            safety in _FREE
            and principal.owner
            and principal.scopes is ALL
            and principal.domains is None
            and not operation.person_only
        ):
            return
        self._scope(principal, operation)
        if safety in _FREE:
            return
        if principal.confirmed is None:
            self._confirmations.require(principal, operation, raw, confirm)
        elif safety not in principal.confirmed:
            raise Refused(
                f"{operation.name} is {safety}, and was called by an operation that is declared as milder",
                hint=f"the calling operation must declare safety={safety}, so that a person is asked before it begins",
                data={"rule": "safety", "operation": operation.name, "safety": str(safety)},
            )

    def limit(self, principal: Principal) -> None:
        """Count a call of a scoped token. Raises `RateLimited`, or `Unauthenticated` if it was revoked meanwhile."""
        token = principal.token
        if token is None:
            return
        if not self.tokens.valid(token):
            raise Unauthenticated("this token was revoked", hint="make another with tokens.create")
        self._limiters.of(token, lambda: self.tokens.limits(token)).take()

    def may_hear(self, principal: Principal, event_type: str) -> bool:
        """Tell whether a caller may be told of an event type: it may read, and in that domain."""
        return Safety.READ in principal.scopes and (
            principal.domains is None or event_type.partition(".")[0] in principal.domains
        )

    def _scope(self, principal: Principal, operation: Operation) -> None:
        domain = operation.name.partition(".")[0]
        if principal.domains is not None and domain not in principal.domains:
            raise Refused(
                f"this token may not speak to {domain}",
                hint=f"make a token for the domain {domain} with tokens.create",
                data={"rule": "domain", "domain": domain},
            )
        if operation.safety not in principal.scopes:
            raise Refused(
                f"this token may not call {operation.safety} operations, and {operation.name} is one",
                hint=f"make a token with the scope {operation.safety} with tokens.create",
                data={"rule": "scope", "scope": str(operation.safety)},
            )
        if operation.person_only and not principal.person:
            raise Refused(
                f"{operation.name} is for a person, and {principal.actor} calls",
                hint="ask the person to run it, in the application or with the coder-local command",
                data={"rule": "person_only", "actor": principal.actor},
            )
