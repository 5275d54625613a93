"""A small domain for tests of the store."""

from __future__ import annotations

from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._store.scope import Caller
from coder_local.api import Domain, Event, Invalid, LocalDate, Record, Title, Transaction, Value

domain = Domain("shelf")


class Part(Value):
    text: str
    done: bool = False


@domain.table("items", unique=(("workspace_id", "code"),), read_only=("number",))
class Item(Record):
    title: Title
    code: str | None = None
    size: int = 0
    weight: float | None = None
    due: LocalDate | None = None
    flagged: bool = False
    parts: list[Part] = []
    number: int = 0


domain.standard(Item, filters=("size", "flagged"), sort=("title", "due"), search=("title",))


@domain.event("shelf.item.lifted")
class ItemLifted(Event):
    item: str


@domain.rule(Item)
def title_is_not_forbidden(tx: Transaction, before: Item | None, after: Item) -> None:
    if after.title == "forbidden":
        raise Invalid("this title may not be", field="/title")


@domain.command("shelf.items.lift", emits=ItemLifted)
def lift(tx: Transaction, *, id: str, fail: bool = False) -> Item:
    """Lift an item."""
    item = tx.update(tx.get(Item, id), size=tx.get(Item, id).size + 1)
    tx.emit(ItemLifted(item=item.id))
    if fail:
        raise RuntimeError("a fault of the plugin")
    return item


def make_tables(kernel: Kernel) -> None:
    for table in kernel.registry.tables.all():
        for statement in table.ddl():
            kernel.store.writer.connection.execute(statement)


def insert(kernel: Kernel, title: str = "a", **fields: Any) -> Item:
    return kernel.store.write(lambda tx: tx.insert(Item(title=title, **fields)), Caller(operation="shelf.items.create"))


def events(kernel: Kernel) -> list[str]:
    return [event.type for event in kernel.store.events_after(0, 1000)]
