"""Undo takes back what one command wrote, all or nothing, and never overwrites what was changed since."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from coder_local._registry.kernel import Kernel
from coder_local._store import changes
from coder_local._store.scope import Caller, WriteScope
from coder_local.api import Conflict, Domain, NotFound, Record
from coder_local.testing import sandbox

from .items import Item, Part, domain, events, insert, make_tables

EDIT = Caller(operation="shelf.items.update")
UNDO = Caller(operation=changes.UNDO)


def change(kernel: Kernel, id: str, **fields: Any) -> Item:
    return kernel.store.write(lambda tx: tx.update(tx.get(Item, id), **fields), EDIT)


def undo_last(kernel: Kernel) -> list[changes.RecordChange]:
    return kernel.store.write(lambda tx: changes.undo(tx, changes.last_change_set(tx, "user")), UNDO)


def current(kernel: Kernel, id: str) -> Item | None:
    return kernel.store.write(lambda tx: tx.find(Item, id, deleted=True))


def test_undo_of_an_update_brings_the_old_values_back_as_a_new_rev(kernel: Kernel) -> None:
    item = insert(kernel, parts=[Part(text="x")], weight=1.5)
    change(kernel, item.id, title="b", parts=[Part(text="y", done=True)], weight=None, flagged=True)
    undo_last(kernel)
    now = current(kernel, item.id)
    assert now is not None
    assert (now.title, now.parts, now.weight, now.flagged, now.rev) == ("a", [Part(text="x")], 1.5, False, 3)


def test_undo_of_a_creation_marks_it_deleted_and_undo_of_that_brings_it_back(kernel: Kernel) -> None:
    item = insert(kernel)
    undone = undo_last(kernel)
    assert [each.action for each in undone] == ["created"]
    with pytest.raises(NotFound):
        undo_last(kernel)
    last = kernel.store.write(lambda tx: changes.recent(tx, before=None, limit=1))[0]
    kernel.store.write(lambda tx: changes.undo(tx, last.change_set), UNDO)
    now = current(kernel, item.id)
    assert now is not None
    assert now.deleted_at is None
    assert events(kernel) == ["shelf.item.created", "shelf.item.deleted", "shelf.item.restored"]
    undo_last(kernel)  # the creation stands again, so it can be undone again


def test_undo_of_a_deletion_restores(kernel: Kernel) -> None:
    item = insert(kernel)
    kernel.store.write(lambda tx: tx.delete(tx.get(Item, item.id)), EDIT)
    undo_last(kernel)
    now = current(kernel, item.id)
    assert now is not None
    assert now.deleted_at is None


def test_undo_leaves_fields_that_others_changed_since(kernel: Kernel) -> None:
    item = insert(kernel)
    changed = kernel.store.write(lambda tx: changes.recent(tx, before=None, limit=1))[0].seq
    change(kernel, item.id, title="b")
    change(kernel, item.id, size=5)
    kernel.store.write(lambda tx: changes.undo(tx, changed + 1), UNDO)
    now = current(kernel, item.id)
    assert now is not None
    assert (now.title, now.size) == ("a", 5)


def test_a_field_that_was_changed_again_stands_against_undo_and_is_named(kernel: Kernel) -> None:
    item = insert(kernel)
    change(kernel, item.id, title="b", size=1)
    change(kernel, item.id, title="c")
    with pytest.raises(Conflict) as caught:
        kernel.store.write(lambda tx: changes.undo(tx, 2), UNDO)
    assert [each["field"] for each in caught.value.data["against"]] == ["title"]
    now = current(kernel, item.id)
    assert now is not None
    assert (now.title, now.size) == ("c", 1)


def test_a_change_set_is_undone_once(kernel: Kernel) -> None:
    insert(kernel)
    undo_last(kernel)
    with pytest.raises(Conflict, match="already undone"):
        kernel.store.write(lambda tx: changes.undo(tx, 1), UNDO)


def test_one_undo_takes_back_all_that_one_command_wrote(kernel: Kernel) -> None:
    first = insert(kernel, "first")

    def work(tx: WriteScope) -> None:
        tx.update(tx.update(first, title="twice"), title="thrice")
        tx.insert(Item(title="new"))

    kernel.store.write(work, EDIT)
    undo_last(kernel)
    assert [item.title for item in kernel.store.write(lambda tx: tx.select(Item))] == ["first"]


odd = Domain("odd")


@odd.table("things")
class Thing(Record):
    """A record of every type that JSON writes in another way."""

    pair: tuple[int, int] = (1, 2)
    tags: frozenset[str] = frozenset()
    by_number: dict[int, str] = {}
    part: Part | None = None


odd.standard(Thing)

FIELDS = {
    "pair": [3, 4],
    "tags": ["x", "y", "zz", "q", "r"],
    "by_number": {"1": "one", "-2": "two"},
    "part": {"text": "p"},
}


@pytest.mark.parametrize("field", FIELDS)
def test_values_that_json_writes_in_another_way_do_not_stand_against_undo(field: str) -> None:
    with sandbox(odd) as box:
        plain = box.call("odd.things.create")
        made = box.call("odd.things.create", **{field: FIELDS[field]})
        assert [each["action"] for each in box.undo()] == ["created"]
        changed = box.call("odd.things.update", id=plain["id"], **{field: FIELDS[field]})
        assert changed[field] == made[field]
        box.undo()
        assert box.call("odd.things.get", id=plain["id"])[field] == plain[field]


def test_a_set_of_another_order_is_the_same_set() -> None:
    with sandbox(odd) as box:
        box.call("odd.things.create", tags=["a", "b"])
        box.kernel.store.writer.connection.execute('UPDATE odd_things SET tags = \'["b","a"]\'')
        assert len(box.undo()) == 1


class UndoMachine(RuleBasedStateMachine):
    """Whatever was done in whatever order: undoing all of it, newest first, leads back to where it began."""

    items = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.kernel.take(domain)
        self.kernel.open()
        make_tables(self.kernel)
        self.past: list[dict[str, tuple[Any, ...]]] = [{}]

    def state(self) -> dict[str, tuple[Any, ...]]:
        found = self.kernel.store.write(lambda tx: tx.select(Item))
        return {item.id: (item.title, item.size, item.flagged) for item in found}

    def done(self) -> None:
        self.past.append(self.state())

    @rule(target=items, title=st.sampled_from("abc"))
    def create(self, title: str) -> Any:
        item = insert(self.kernel, title)
        self.done()
        return item.id

    @rule(id=items, title=st.sampled_from("def"), size=st.integers(0, 3), flagged=st.booleans())
    def edit(self, id: str, title: str, size: int, flagged: bool) -> None:
        before = self.kernel.store.write(lambda tx: tx.find(Item, id))
        if before is None or (before.title, before.size, before.flagged) == (title, size, flagged):
            return
        change(self.kernel, id, title=title, size=size, flagged=flagged)
        self.done()

    @rule(target=items, id=consumes(items))
    def delete(self, id: str) -> Any:
        if self.kernel.store.write(lambda tx: tx.find(Item, id)) is None:
            return multiple()
        self.kernel.store.write(lambda tx: tx.delete(tx.get(Item, id)), EDIT)
        self.done()
        return id

    @rule()
    def undo(self) -> None:
        if len(self.past) > 1:
            undo_last(self.kernel)
            self.past.pop()

    @invariant()
    def it_is_as_it_was(self) -> None:
        assert self.state() == self.past[-1]


TestUndoMachine = UndoMachine.TestCase
TestUndoMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
