"""Slow: queries that hold the reader until they are stopped."""

from __future__ import annotations

from coder_local.api import Domain, Snapshot

domain = Domain("slow")
_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n WHERE i < 0"


@domain.query("slow.endless")
def endless(read: Snapshot) -> int:
    """Count for ever."""
    return len(read.rows(_ENDLESS))


@domain.query("slow.late", deadline=0.2)
def late(read: Snapshot) -> int:
    """Count past the deadline."""
    return len(read.rows(_ENDLESS))
