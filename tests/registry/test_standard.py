"""Standard operations: pages without gap or double in every order, and a workspace sees its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_local.api import DeclarationError, Domain, LocalDate, NotFound, Record, Stale
from coder_local.testing import sandbox

domain = Domain("shop")


@domain.table("items")
class Item(Record):
    """Something."""

    name: str
    size: int | None = None
    day: LocalDate | None = None
    sold: bool = False


domain.standard(Item, filters=("sold",), sort=("name", "size", "day"), search=("name",))

ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "B", "%", "_", "\\"]),
            "size": st.none() | st.integers(-2, 2),
            "day": st.none() | st.sampled_from(["2026-01-01", "2026-01-02"]),
            "sold": st.booleans(),
        }
    ),
    max_size=12,
)


def walk(box: Any, **asked: Any) -> list[dict[str, Any]]:
    """Return all pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = box.call("shop.items.list", **asked, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= asked["limit"]
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@settings(max_examples=40, deadline=None)
@given(
    items=ITEMS,
    sort=st.sampled_from(["id", "-id", "name", "-name", "size", "-size", "day", "-day"]),
    limit=st.integers(1, 4),
)
def test_pages_give_every_record_once_in_order(items: list[dict[str, Any]], sort: str, limit: int) -> None:
    with sandbox(domain) as box:
        made = [box.call("shop.items.create", **item) for item in items]
        field = sort.removeprefix("-")
        expected = sorted(made, key=lambda item: (item[field] is None, item[field] or _least(field), item["id"]))
        if sort.startswith("-"):
            expected.reverse()
        found = walk(box, sort=sort, limit=limit)
        assert [item["id"] for item in found] == [item["id"] for item in expected]


def _least(field: str) -> Any:
    return 0 if field == "size" else ""


@settings(max_examples=30, deadline=None)
@given(items=ITEMS, text=st.sampled_from(["a", "b", "%", "_", "\\"]), sold=st.booleans())
def test_a_search_takes_its_text_as_it_is(items: list[dict[str, Any]], text: str, sold: bool) -> None:
    with sandbox(domain) as box:
        for item in items:
            box.call("shop.items.create", **item)
        found = walk(box, q=text, sold=sold, limit=3)
        assert len(found) == sum(text in item["name"].lower() and item["sold"] is sold for item in items)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("äpfel", ["Äpfel", "ÄPFEL und Birnen"]),
        ("ÄPFEL", ["Äpfel", "ÄPFEL und Birnen"]),
        ("A\u0308pfel", ["Äpfel", "ÄPFEL und Birnen"]),  # a letter and its dots apart
        ("apfel", []),
        ("strasse", ["Straße"]),
        ("STRASSE", ["Straße"]),
        ("straße", ["Straße"]),
        ("ФАЙЛ", ["файл"]),
        ("birnen", ["ÄPFEL und Birnen"]),
        ("file", ["\uff26\uff29\uff2c\uff25"]),
        ("%ä", ["100%Ä"]),
        ("_ä", []),
    ],
)
def test_a_search_is_in_any_case_beyond_ascii_too(text: str, found: list[str]) -> None:
    with sandbox(domain) as box:
        for name in ("Äpfel", "ÄPFEL und Birnen", "Straße", "файл", "\uff26\uff29\uff2c\uff25", "100%Ä", "plain"):
            box.call("shop.items.create", name=name)
        assert [item["name"] for item in walk(box, q=text, limit=5)] == found


def test_a_workspace_lists_its_own() -> None:
    with sandbox(domain) as box:
        elsewhere = box.as_caller(workspace="other")
        mine = box.call("shop.items.create", name="mine")
        other = elsewhere.call("shop.items.create", name="other")
        assert [item["id"] for item in walk(elsewhere, limit=5)] == [other["id"]]
        assert [item["id"] for item in walk(box, limit=5)] == [mine["id"]]


def test_every_order_walks_an_index_of_the_workspace() -> None:
    with sandbox(domain) as box:
        read = box.snapshot()
        for term in ("id", "name, id", "(size IS NULL), size, id"):
            plan = read.connection.execute(  # type: ignore[attr-defined]
                "EXPLAIN QUERY PLAN SELECT * FROM shop_items WHERE deleted_at IS NULL AND workspace_id = 'w'"
                f" ORDER BY {term} LIMIT 5"
            ).fetchall()
            assert all("TEMP B-TREE" not in row[3] for row in plan), plan
            assert any("shop_items_list_" in row[3] for row in plan), plan


keyed = Domain("press")


@keyed.table("books", unique=(("workspace_id", "code"),), key="code")
class Book(Record):
    """Something that people call by its code."""

    code: str
    title: str = ""


@keyed.table("pages")
class Leaf(Record):
    """A part of a book."""

    book: str


@keyed.table("notes")
class Note(Record):
    """A word about a book, or about something that is kept elsewhere."""

    about: str


keyed.standard(Book)
keyed.standard(Note, filters=("about",), references={"about": (Book,)})
keyed.standard(Leaf, filters=("book",), references={"book": Book})


def test_a_record_is_named_by_its_id_or_its_key() -> None:
    with sandbox(keyed) as box:
        book = box.call("press.books.create", code="B-1")
        assert box.call("press.books.get", id="B-1") == box.call("press.books.get", id=book["id"])
        changed = box.call("press.books.update", id="B-1", title="new", if_rev=1)
        assert changed["id"] == book["id"]
        with pytest.raises(Stale):
            box.call("press.books.update", id="B-1", title="newer", if_rev=1)
        assert len(box.call("press.books.history", id="B-1")["items"]) == 2
        with pytest.raises(NotFound):
            box.as_caller(workspace="other").call("press.books.get", id="B-1")
        box.call("press.books.delete", id="B-1")
        with pytest.raises(NotFound):
            box.call("press.books.get", id="B-1")
        assert box.call("press.books.history", id=book["id"])["items"][0]["action"] == "deleted"


def test_a_filter_that_names_a_record_takes_its_key_and_says_when_there_is_none() -> None:
    with sandbox(keyed) as box:
        book = box.call("press.books.create", code="B-1")
        leaf = box.call("press.pages.create", book=book["id"])
        for name in ("B-1", book["id"]):
            assert [each["id"] for each in box.call("press.pages.list", book=name)["items"]] == [leaf["id"]]
        with pytest.raises(NotFound) as caught:
            box.call("press.pages.list", book="B-2")
        assert caught.value.field == "/book"


def test_a_filter_that_may_name_a_record_of_elsewhere_takes_keys_and_any_id() -> None:
    with sandbox(keyed) as box:
        book = box.call("press.books.create", code="B-1")
        for about in (book["id"], "elsewhere-1"):
            box.call("press.notes.create", about=about)
        for name, about in (("B-1", book["id"]), (book["id"], book["id"]), ("elsewhere-1", "elsewhere-1")):
            assert [each["about"] for each in box.call("press.notes.list", about=name)["items"]] == [about]
        assert box.call("press.notes.list", about="B-2")["items"] == []


def test_a_key_that_is_not_unique_is_refused_at_its_declaration() -> None:
    with pytest.raises(DeclarationError, match="must be unique"):
        Domain("loose").table("things", key="name")(Item)


odd = Domain("odd")


@odd.table("things")
class Thing(Record):
    """A record whose fields are called as the list's own parameters are kept."""

    workspace: str
    after: str = ""


odd.standard(Thing, filters=("workspace", "after"))


def test_fields_may_be_called_as_the_list_calls_its_own() -> None:
    with sandbox(odd) as box:
        made = box.call("odd.things.create", workspace="home", after="x")
        box.call("odd.things.create", workspace="away", after="x")
        found = box.call("odd.things.list", workspace="home", after="x", limit=1)
        assert [each["id"] for each in found["items"]] == [made["id"]]
