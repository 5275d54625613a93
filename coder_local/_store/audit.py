"""Lines of audit: who called what cannot simply be taken back, and what came of it. Added, never changed.

Each line holds a hash of itself and of the hash of the line before: one that is changed, put in or taken away shows at
the next look of the doctor. Lines go with age from the oldest on, so what is left is still one chain.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from coder_local.api import Instant, Value

from .clock import instant
from .scope import ReadScope, WriteScope, bind

KEEP_DAYS = 365
BEGUN = "begun"
"""Outcome of the line that is written before the call is carried out."""
OK = "ok"
_COLUMNS = "seq, at, actor, token, workspace_id, operation, safety, outcome, request_id, input_hash, detail"


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
    detail: str = ""


class AuditLine(Value):
    """One call of an operation that is destructive, leaves the machine, or is for a person alone.

    Or requests that were refused at the door of HTTP: their operation is `http.request`, their actor `unknown`. Or what
    a plugin in a process of its own tried beyond its manifest: the operation is `<domain>.<permission>`.
    """

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
    """SHA-256 of the input as it was sent, in hex; the input itself is not kept. Empty where there was none."""
    detail: str
    """Of requests refused at the door: the rule they broke, what the last of them said of itself, and their number.

    Of a plugin that tried what its manifest does not allow: the permission, and what it tried.
    """
    hash: str
    """SHA-256 of this line and of the hash of the line before, in hex; empty in lines of versions before the chain."""


def add(scope: WriteScope, entry: Entry) -> None:
    """Add a line to the end of the chain."""
    add_line(scope.connection, scope.ms, entry)


def add_line(connection: sqlite3.Connection, ms: int, entry: Entry) -> None:
    """Add a line of a moment to the end of the chain, inside a transaction."""
    execute = connection.execute
    last = execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    before = execute("SELECT hash FROM audit WHERE hash != '' ORDER BY seq DESC LIMIT 1").fetchone()
    line = (1 if last is None else last[0] + 1, ms, *entry)
    previous = "" if before is None else before[0]
    execute(
        f"INSERT INTO audit ({_COLUMNS}, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (*line, previous, _hash(previous, line)),
    )


def _hash(previous: str, line: tuple[Any, ...]) -> str:
    import hashlib  # noqa: PLC0415 - 2 ms, and not at every start

    return hashlib.sha256(msgspec.json.encode([previous, *line])).hexdigest()


def faults(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield where the chain is broken; nothing after the first break in it can be told from what belongs there."""
    previous: str | None = None  # of the oldest line left, what came before is gone with age
    unchained = newest = 0
    rows = connection.execute(f"SELECT prev_hash, hash, {_COLUMNS} FROM audit ORDER BY seq")  # noqa: S608 - literals
    for before, own, *line in rows:
        newest = line[0]
        if not own:
            unchained += previous is not None
            continue
        if previous not in (None, before):
            yield f"the line before line {newest} was changed or taken away"
            break
        if own != _hash(before, tuple(line)):
            yield f"line {newest} was changed"
            break
        previous = own
    else:
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
        if newest and last is not None and last[0] > newest:
            yield f"the lines after line {newest} were taken away"
    if unchained:
        yield f"{unchained} lines are in no chain: they were put in by an older version, or by another program"


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
        f"SELECT {_COLUMNS}, hash FROM audit WHERE (:before IS NULL OR seq < :before)"  # noqa: S608 - literals only
        " AND (:operation IS NULL OR operation = :operation) AND (:actor IS NULL OR actor = :actor)"
        " AND (:everywhere OR substr(operation, 1, instr(operation, '.') - 1) IN"
        " (SELECT value FROM json_each(:domains)))"
        " ORDER BY seq DESC LIMIT :limit",
        bind(values),
    )
    return [_line(row) for row in rows]


def _line(row: tuple[Any, ...]) -> AuditLine:
    seq, at, actor, token, workspace, operation, safety, outcome, request_id, input_hash, detail, own = row
    return AuditLine(
        seq=seq, at=instant(at), actor=actor, token=token, workspace=workspace, operation=operation, safety=safety,
        outcome=outcome, request_id=request_id, input_hash=input_hash, detail=detail, hash=own,
    )  # fmt: skip


def trim(scope: WriteScope) -> int:
    """Take away the lines that are over `KEEP_DAYS` days old, up to the first that is not, and return how many."""
    before = scope.ms - KEEP_DAYS * 24 * 3600 * 1000
    young = "coalesce((SELECT min(seq) FROM audit WHERE at >= ?), (SELECT max(seq) + 1 FROM audit))"
    return scope.connection.execute(f"DELETE FROM audit WHERE seq < {young}", (before,)).rowcount  # noqa: S608
