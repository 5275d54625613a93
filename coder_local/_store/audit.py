"""Lines of audit: who called what cannot simply be taken back, and what came of it. Added, never changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from coder_local.api import Instant, Value

from .clock import instant
from .scope import ReadScope, WriteScope, bind

KEEP_DAYS = 365
BEGUN = "begun"
"""Outcome of the line that is written before the call is carried out."""
OK = "ok"
_COLUMNS = "seq, at, actor, token, workspace_id, operation, safety, outcome, request_id, input_hash"


class Entry(NamedTuple):
    """A line to be added."""

    actor: str
    token: str | None
    workspace: str
    operation: str
    safety: str
    outcome: str
    request_id: str
    input_hash: str


class AuditLine(Value):
    """One call of an operation that is destructive, leaves the machine, or is for a person alone."""

    seq: int
    at: Instant
    actor: str
    token: str | None
    """Id of the scoped token that it came with."""
    workspace: str
    operation: str
    safety: str
    outcome: str
    """`begun` before it is carried out, then `ok` or the kind of the error; what was refused has no `begun`."""
    request_id: str
    input_hash: str
    """SHA-256 of the input as it was sent, in hex; the input itself is not kept."""


def add(scope: WriteScope, entry: Entry) -> None:
    """Add a line."""
    scope.connection.execute(
        "INSERT INTO audit (at, actor, token, workspace_id, operation, safety, outcome, request_id, input_hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (scope.ms, *entry),
    )


def recent(
    scope: ReadScope,
    *,
    before: int | None,
    limit: int,
    operation: str | None = None,
    actor: str | None = None,
    domains: Collection[str] | None = None,
) -> list[AuditLine]:
    """Return the newest lines of all workspaces, those numbered under `before`; with `domains` only theirs."""
    values: dict[str, Any] = {
        "before": before,
        "operation": operation,
        "actor": actor,
        "everywhere": domains is None,
        "domains": sorted(domains or ()),
        "limit": limit,
    }
    rows = scope.connection.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE (:before IS NULL OR seq < :before)"  # noqa: S608 - literals only
        " AND (:operation IS NULL OR operation = :operation) AND (:actor IS NULL OR actor = :actor)"
        " AND (:everywhere OR substr(operation, 1, instr(operation, '.') - 1) IN"
        " (SELECT value FROM json_each(:domains)))"
        " ORDER BY seq DESC LIMIT :limit",
        bind(values),
    )
    return [_line(row) for row in rows]


def _line(row: tuple[Any, ...]) -> AuditLine:
    seq, at, actor, token, workspace, operation, safety, outcome, request_id, input_hash = row
    return AuditLine(
        seq=seq, at=instant(at), actor=actor, token=token, workspace=workspace, operation=operation, safety=safety,
        outcome=outcome, request_id=request_id, input_hash=input_hash,
    )  # fmt: skip


def trim(scope: WriteScope) -> int:
    """Take away the lines that are over `KEEP_DAYS` days old, and return how many."""
    before = scope.ms - KEEP_DAYS * 24 * 3600 * 1000
    return scope.connection.execute("DELETE FROM audit WHERE at < ?", (before,)).rowcount
