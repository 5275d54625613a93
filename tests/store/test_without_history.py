"""Records without history: rows alone, for a state machine that says its own events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coder_local._contracts.schemas import Model
from coder_local.api import Conflict, DeclarationError, Domain, Event, NotFound, Record, Stale, Transaction
from coder_local.testing import Sandbox, sandbox

domain = Domain("mill")


@domain.table("grains", history=False, unique=(("workspace_id", "name"),))
class Grain(Record):
    """One thing that only the mill writes."""

    name: str
    state: str = "whole"


domain.standard(Grain, operations=("list", "get"))


@domain.table("sacks")
class Sack(Record):
    """An ordinary record beside it."""

    name: str


@domain.event("mill.grain.ground")
class GrainGround(Event):
    """A grain was ground."""

    grain: str


@domain.rule(Grain)
def stones_are_not_ground(tx: Transaction, before: Grain | None, after: Grain) -> None:
    """What is stone stays."""
    if before is not None and before.name == "stone":
        raise Conflict("a stone stays as it is")


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox(domain) as opened:
        yield opened


def changes(box: Sandbox) -> list[tuple[str, str]]:
    rows = box.kernel.store.writer.connection.execute("SELECT table_name, operation FROM change ORDER BY seq")
    return [tuple(row) for row in rows]


def test_writes_leave_rows_and_nothing_else(box: Sandbox) -> None:
    with box.tx() as tx:
        grain = tx.insert(Grain(name="rye"))
        assert (grain.rev, grain.origin, bool(grain.id)) == (1, "user", True)
        grain = tx.update(grain, state="ground")
        tx.emit(GrainGround(grain=grain.id))
        tx.insert(Sack(name="s"))
    assert grain.rev == 2
    assert box.call("mill.grains.get", id=grain.id)["state"] == "ground"
    assert [said.type for said in box.events] == ["mill.grain.ground", "mill.sack.created"]
    assert changes(box) == [("mill_sacks", "")]


def test_undo_meets_only_what_has_history(box: Sandbox) -> None:
    with box.tx() as tx:
        grain, sack = tx.insert(Grain(name="rye")), tx.insert(Sack(name="s"))
    assert [each["id"] for each in box.undo()] == [sack.id]
    assert box.snapshot().get(Grain, grain.id) == grain
    with pytest.raises(NotFound, match="nothing to undo"):
        box.undo()


def test_an_older_record_is_stale_for_update_and_delete(box: Sandbox) -> None:
    with box.tx() as tx:
        old = tx.insert(Grain(name="rye"))
        new = tx.update(old, state="ground")
        with pytest.raises(Stale) as caught:
            tx.update(old, state="lost")
        assert caught.value.data["current"]["rev"] == new.rev
        with pytest.raises(Stale):
            tx.delete(old)
        tx.delete(new)
        with pytest.raises(Stale) as gone:
            tx.delete(new)
        assert gone.value.data["current"] is None


def test_delete_takes_the_row_away_and_rules_hold(box: Sandbox) -> None:
    with box.tx() as tx:
        grain, stone = tx.insert(Grain(name="rye")), tx.insert(Grain(name="stone"))
        gone = tx.delete(grain)
        assert (gone.rev, gone.deleted_at) == (2, tx.now())
        assert tx.find(Grain, grain.id, deleted=True) is None
        tx.insert(Grain(name="rye"))
        with pytest.raises(ValueError, match="without history"):
            tx.restore(gone)
        with pytest.raises(Conflict, match="stone"):
            tx.delete(stone)
    assert len(box.snapshot().select(Grain, deleted=True)) == 2


def test_no_event_of_its_own_is_promised(box: Sandbox) -> None:
    events = box.kernel.registry.events()
    assert [name for name in events if name.startswith("mill.grain.")] == ["mill.grain.ground"]
    assert "mill.sack.created" in events
    described = Model(box.kernel.registry).events
    assert "mill.grain.created" not in described
    assert "mill.sack.created" in described


@pytest.mark.parametrize("operations", [None, ("list", "create"), ("history",)])
def test_its_standard_operations_only_read(operations: tuple[str, ...] | None) -> None:
    fresh = Domain("mill")
    fresh.table("grains", history=False)(Grain)
    with pytest.raises(DeclarationError, match="without history"):
        fresh.standard(Grain) if operations is None else fresh.standard(Grain, operations=operations)  # type: ignore[arg-type]
