"""A repeated call gets its first answer: keys are kept for 24 hours, in the same transaction as what the call wrote."""

from __future__ import annotations

from coder_local.api import Conflict

from .scope import WriteScope

KEEP_MS = 24 * 3600 * 1000


def replay(scope: WriteScope, key: str, input_bytes: bytes) -> bytes | None:
    """Return the first answer to this key, or None if it is new. Raises `Conflict` if its input was another."""
    scope.connection.execute("DELETE FROM idempotency WHERE at < ?", (scope.ms - KEEP_MS,))
    row = scope.connection.execute(
        "SELECT operation, input_hash, answer FROM idempotency WHERE actor = ? AND workspace_id = ? AND key = ?",
        (scope.actor, scope.workspace, key),
    ).fetchone()
    if row is None:
        return None
    if row[0] != scope.caller.operation or row[1] != _hash(input_bytes):
        raise Conflict(
            "this idempotency key was used within 24 hours for another call",
            field="/idempotency_key",
            hint="use a new key for each new call",
            data={"operation": row[0]},
        )
    return bytes(row[2])


def keep(scope: WriteScope, key: str, input_bytes: bytes, answer: bytes) -> None:
    """Keep the answer to a key."""
    scope.connection.execute(
        "INSERT INTO idempotency (actor, workspace_id, key, operation, input_hash, answer, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (scope.actor, scope.workspace, key, scope.caller.operation, _hash(input_bytes), answer, scope.ms),
    )


def _hash(input_bytes: bytes) -> bytes:
    import hashlib  # noqa: PLC0415 - 2 ms, and not at every start

    return hashlib.sha256(input_bytes).digest()
