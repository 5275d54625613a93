"""Confirmations: what a person agreed to is one call with one input, once, within ten minutes.

A command with an idempotency key is carried out once however often it comes, so its confirmation holds until its
time is over: who lost the first answer asks for it again, and the person is not asked a second time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from coder_local._registry.principal import Principal
from coder_local.api import Kind, NeedsConfirmation, Operation, Safety

from .limits import Now

VALID = 600.0
"""Seconds that a confirmation may be waited for."""
_OPEN = 1000
"""Questions that may be open at the same time; the oldest is forgotten first."""

_RISK = {
    Safety.DESTRUCTIVE: "loses something that undo cannot bring back, or touches files or processes",
    Safety.EXTERNAL: "leaves this machine or spends money",
}


class _Question(NamedTuple):
    bound: tuple[str, str | None, str, str, bytes]
    expires: float


class Confirmations:
    """Asks for a confirmation, and takes it once."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._open: OrderedDict[str, _Question] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def require(self, principal: Principal, operation: Operation, raw: bytes, confirm: str | None) -> None:
        """Return if `confirm` confirms exactly this call. Raises `NeedsConfirmation` with a fresh token if not."""
        bound = principal.actor, principal.token, principal.workspace, operation.name, digest(raw)
        question = None if confirm is None else self._open.pop(confirm, None)
        if question is not None and question.bound == bound and question.expires > self._now():
            if confirm is not None and operation.kind is Kind.COMMAND and _has_key(raw):
                self._open[confirm] = question
            return
        token = os.urandom(24).hex()
        self._open[token] = _Question(bound, self._now() + VALID)
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        again = (
            ""
            if confirm is None
            else "; the confirmation sent was used, is over 10 minutes old, or was for another call"
        )
        raise NeedsConfirmation(
            f"{operation.name} {_RISK[operation.safety]}: a person must confirm it{again}",
            field=None if confirm is None else "/confirm",
            hint="show the person this call; if they agree, send the same input again with data.confirm as confirm",
            data={
                "confirm": token,
                "operation": operation.name,
                "safety": str(operation.safety),
                "valid_seconds": int(VALID),
            },
        )


def _has_key(raw: bytes) -> bool:
    return msgspec.json.decode(raw).get("idempotency_key") is not None


def digest(raw: bytes) -> bytes:
    """Return the hash of an input: the same for the same values without `confirm`, however they are written down."""
    import hashlib  # noqa: PLC0415 - 2 ms, and not at every start
    import json  # noqa: PLC0415 - see above

    values: Any = json.loads(raw)
    if isinstance(values, dict):
        values.pop("confirm", None)  # pyright: ignore[reportUnknownMemberType]
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).digest()
