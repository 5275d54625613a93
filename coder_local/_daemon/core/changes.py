"""`changes.*`: the history of everything, and undo."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coder_local._registry.standard import Cursor, Limit, bad_cursor
from coder_local._store import changes
from coder_local._store.changes import RecordChange
from coder_local.api import Domain, Page, Refused, Snapshot, Transaction, Value

from .work import reading, writing

SHOWN = 100
"""Changes that the answer to an undo shows."""
ChangeSet = Annotated[int, Meta(ge=1)]
"""Number shared by all that one command wrote."""


class Undone(Value):
    """What an undo took back."""

    change_set: int
    """The change set that was taken back."""
    operation: str
    """The command that was taken back."""
    count: int
    """How many records it had written."""
    undone: list[RecordChange]
    """Its changes, newest first, at most `SHOWN`; `changes.list` has them all."""


def declare() -> Domain:
    """Return the domain."""
    domain = Domain("changes")

    @domain.query("changes.list")
    def list_changes(read: Snapshot, *, cursor: Cursor | None = None, limit: Limit = 50) -> Page[RecordChange]:
        """List what was changed in the workspace, by whom and with which command, newest first."""
        scope = reading(read)
        found = changes.recent(scope, before=_number(cursor), limit=limit + 1)
        more = len(found) > limit
        return Page(items=found[:limit], next_cursor=str(found[limit - 1].seq) if more else None)

    @domain.command("changes.undo", deadline=120.0)  # an import of 20,000 records is one change set
    def undo(tx: Transaction, *, change_set: ChangeSet | None = None) -> Undone:
        """Take back all that one command wrote; without `change_set` the caller's last one in the workspace.

        An undo is a change of its own, and is undone in the same way. Answers `conflict`, naming each field, if
        something was changed again since. An agent takes back only what it wrote itself.
        """
        scope = writing(tx)
        wanted = changes.last_change_set(scope, tx.actor) if change_set is None else change_set
        if tx.actor != "user":
            _own(scope.rows("SELECT actor FROM change WHERE seq = :wanted", wanted=wanted), wanted, tx.actor)
        undone = changes.undo(scope, wanted)
        return Undone(change_set=wanted, operation=undone[0].operation, count=len(undone), undone=undone[:SHOWN])

    return domain


def _own(found: list[tuple[str]], change_set: int, actor: str) -> None:
    # Or a caller that may write in one domain only could take back what was written in another.
    if found and found[0][0] != actor:
        raise Refused(
            f"change set {change_set} is of {found[0][0]}, and {actor} takes back only its own",
            field="/change_set",
            hint="ask the person to undo it",
            data={"rule": "own_changes", "actor": found[0][0]},
        )


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise bad_cursor()
    return int(cursor)
