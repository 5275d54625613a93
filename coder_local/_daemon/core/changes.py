"""`changes.*`: the history of everything, and undo."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coder_local._registry.standard import Cursor, Limit, number_of
from coder_local._store import changes
from coder_local._store.changes import RecordChange
from coder_local._store.scope import WriteScope
from coder_local.api import Domain, Page, Refused, Snapshot, Transaction, Value

from .work import domains_of, reading, writing

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
        """List what was changed in the workspace, by whom and with which command, newest first.

        The holder of a token for some domains sees the changes of their records.
        """
        scope = reading(read)
        found = changes.recent(scope, before=number_of(cursor), limit=limit + 1, plugins=domains_of(scope))
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
        _refuse_foreign(scope, wanted)
        undone = changes.undo(scope, wanted)
        return Undone(change_set=wanted, operation=undone[0].operation, count=len(undone), undone=undone[:SHOWN])

    return domain


def _refuse_foreign(scope: WriteScope, change_set: int) -> None:
    """Raise `Refused` where undo would let the caller write what it may not write by itself."""
    found, domains = changes.written(scope, change_set), domains_of(scope)
    others = sorted({actor for actor, _ in found if actor != scope.actor})
    if others and scope.actor != "user":
        raise Refused(
            f"change set {change_set} is of {others[0]}, and {scope.actor} takes back only its own",
            field="/change_set",
            hint="ask the person to undo it",
            data={"rule": "own_changes", "actor": others[0]},
        )
    if domains is not None and not {table for _, table in found} <= set(changes.tables_of(scope, domains)):
        raise Refused(
            f"change set {change_set} wrote records of a domain that this token may not speak to",
            field="/change_set",
            hint="ask the person to undo it",
            data={"rule": "domain"},
        )
