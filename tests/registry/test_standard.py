"""Standard operations: pages without gap or double in every order, and a workspace sees its own."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coder_local.api import Domain, LocalDate, Record
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
