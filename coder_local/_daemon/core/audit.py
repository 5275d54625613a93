"""`audit.list`, and writing its lines: who called what cannot simply be taken back, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from coder_local._registry.dispatch import Call
from coder_local._registry.kernel import Kernel
from coder_local._registry.standard import Cursor, Limit, number_of
from coder_local._store import audit
from coder_local._store.audit import AuditLine
from coder_local._store.caller import Caller
from coder_local.api import Domain, Error, Operation, Page, Snapshot

from .work import domains_of, reading

_log = logging.getLogger("coder_local.audit")
_CALLER = Caller(actor="daemon", operation="audit")
Name = Annotated[str, Meta(min_length=1, max_length=200)]


def declare(kernel: Kernel) -> Domain:
    """Return the domain, and have the kernel's calls audited."""
    kernel.dispatcher.audit = _Auditor(kernel).watch
    domain = Domain("audit")

    @domain.query("audit.list")
    def list_audit(
        read: Snapshot,
        *,
        operation: Name | None = None,
        actor: Name | None = None,
        cursor: Cursor | None = None,
        limit: Limit = 50,
    ) -> Page[AuditLine]:
        """List who called destructive and external operations and those for a person alone, newest first.

        Requests that HTTP refused at its door are among them, as `http.request`. Lines of all workspaces; they are kept
        for a year. The holder of a token for some domains sees theirs.
        """
        scope = reading(read)
        found = audit.recent(
            scope, before=number_of(cursor), limit=limit + 1, operation=operation, actor=actor,
            domains=domains_of(scope),
        )  # fmt: skip
        more = len(found) > limit
        return Page(items=found[:limit], next_cursor=str(found[limit - 1].seq) if more else None)

    return domain


class _Auditor:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def watch(self, call: Call, operation: Operation) -> Callable[[], None]:
        """Have the outcome of a call written down; what is returned is called once it was admitted.

        The writer takes the line `begun` before the call's own command, so that nothing is done without a line.
        """
        import hashlib  # noqa: PLC0415 - 2 ms, and not at every start

        principal, answer = call.principal, call.answer
        digest = hashlib.sha256(call.raw).hexdigest()

        def write(outcome: str) -> None:
            entry = audit.Entry(
                principal.actor, principal.token, principal.workspace, call.name, str(operation.safety), outcome,
                call.request_id, digest,
            )  # fmt: skip
            self._kernel.store.submit(lambda scope: audit.add(scope, entry), _CALLER, _written)

        def answered(body: bytes | None, error: Error | None) -> None:
            write(audit.OK if error is None else error.kind)
            answer(body, error)

        call.answer = answered
        return lambda: write(audit.BEGUN)


def _written(_: object, error: BaseException | None) -> None:
    if error is not None:
        _log.error("a line of audit could not be written: %s", error)
