"""Plugins that clash, or declare what cannot be: the later one is stopped with the reason, the earlier one stays.

Two plugins cannot declare the same operation: its name begins with the domain's, and a domain's name is taken once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status
from coder_local.api import DeclarationError, Domain, Event, Record, Snapshot, Title


class Book(Record):
    """A book."""

    title: Title


class Lamp(Record):
    """A lamp."""


class Opened(Event):
    """It was opened."""


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    domain = Domain("shelf")
    domain.table("books")(Book)
    domain.standard(Book, operations=("list",))
    domain.event("shelf.book.opened")(Opened)
    assert made.take(domain).loaded
    return made


def same_domain() -> Domain:
    domain = Domain("shelf")

    @domain.query("shelf.count")
    def count(read: Snapshot) -> int:
        """Count."""
        return 0

    return domain


def same_table() -> Domain:
    domain = Domain("shelf_books")
    domain.table("shelf_books")(Lamp)
    domain.standard(Lamp)
    return domain


def two_tables_of_one_name() -> Domain:
    class Other(Record):
        """Another."""

    domain = Domain("lamps")
    domain.table("bulbs")(Lamp)
    domain.table("bulbs")(Other)
    domain.standard(Lamp)
    return domain


def same_record() -> Domain:
    domain = Domain("library")
    domain.table("library")(Book)
    return domain


def same_event_class() -> Domain:
    domain = Domain("doors")
    domain.event("doors.door.opened")(Opened)
    return domain


def unknown_hook() -> Domain:
    domain = Domain("board")

    @domain.hook
    def widgetz() -> list[str]:
        return []

    return domain


def wrong_argument() -> Domain:
    domain = Domain("board")

    @domain.hook
    def notify(title: str, body: str) -> list[str]:
        return []

    return domain


def argument_of_a_hook_without_any() -> Domain:
    domain = Domain("board")

    @domain.hook
    def widgets(*, board: str) -> list[str]:
        return []

    return domain


def foreign_rule() -> Domain:
    domain = Domain("critic")

    @domain.rule(Book)
    def has_title(tx: Any, before: Book | None, after: Book) -> None:
        """Hold a foreign record to something."""

    return domain


CLASHES: dict[Callable[[], Domain], str] = {
    same_domain: "the domain name shelf is taken by plugin shelf",
    same_table: "a table named shelf_books belongs to another plugin",
    two_tables_of_one_name: "two records are kept in a table named lamps_bulbs",
    same_record: "Book is kept by another plugin already",
    same_event_class: "Opened cannot be doors.door.opened: it is shelf.book.opened already",
    unknown_hook: "there is no hook 'widgetz'; there are ai_providers,",
    wrong_argument: "hook notify has no argument body; it has title, text",
    argument_of_a_hook_without_any: "hook widgets has no argument board; it has none",
    foreign_rule: "a rule for Book, which critic does not keep",
}


@pytest.mark.parametrize("declare", CLASHES, ids=lambda declare: declare.__name__)
def test_what_clashes_is_stopped_by_its_declaration_and_nothing_of_it_is_taken_in(
    kernel: Kernel, declare: Callable[[], Domain]
) -> None:
    registry = kernel.registry
    before = registry.names(), set(registry.events()), [table.name for table in registry.tables.all()]
    rules = dict(registry.tables.rules)
    plugin = Plugin("late", Source.FOLDER, "late")
    registry.take(plugin, declare())
    assert plugin.status is Status.STOPPED_BY_DECLARATION
    assert CLASHES[declare] in plugin.reason
    assert (registry.names(), set(registry.events()), [table.name for table in registry.tables.all()]) == before
    assert registry.tables.rules == rules
    registry.stop(plugin, Status.DISABLED, "by the person")
    assert (registry.names(), set(registry.events()), [table.name for table in registry.tables.all()]) == before
    assert list(kernel.offered("widgets")) == []  # the hooks of the others can still be called


def test_two_plugins_of_one_name_are_both_listed_and_the_first_one_stays(kernel: Kernel) -> None:
    second = Plugin("shelf", Source.ENTRY_POINT, "nowhere")
    kernel.registry.add(second)
    assert second.reason == "there is already a plugin called shelf"
    assert kernel.registry.plugins["shelf"].loaded
    assert kernel.registry.plugins["shelf (entry_point)"] is second


@pytest.mark.parametrize("name", ["notes.list", "shelf.list.", "shelf"])
def test_an_operation_of_another_domain_cannot_be_declared_at_all(name: Any) -> None:
    domain = Domain("shelf")
    with pytest.raises(DeclarationError, match="must be shelf"):

        @domain.query(name)
        def count(read: Snapshot) -> int:
            """Count."""
            return 0


def test_an_event_class_is_one_event() -> None:
    domain = Domain("doors")
    domain.event("doors.door.opened")(Opened)
    with pytest.raises(DeclarationError, match="Opened is two events"):
        domain.event("doors.window.opened")(Opened)
    with pytest.raises(DeclarationError, match=r"doors\.door\.opened is declared twice"):
        domain.event("doors.door.opened")(type("Other", (Event,), {}))


def test_what_a_stopped_plugin_had_is_free_for_another(kernel: Kernel) -> None:
    kernel.registry.stop(kernel.registry.plugins["shelf"], Status.DISABLED, "by the person")
    for declare in (same_table, same_event_class):
        assert kernel.take(declare()).loaded
