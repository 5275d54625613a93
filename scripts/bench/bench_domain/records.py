"""What the measuring domain keeps: 20 columns of every kind that records have."""

from coder_local.api import Domain, Instant, LocalDate, Markdown, Record, Title, Transaction

domain = Domain("bench", version="1.0.0")


@domain.table("items")
class Item(Record):
    """An item of work, about as wide as a task."""

    title: Title
    body: Markdown = ""
    state: str = "open"
    priority: int = 0
    points: float | None = None
    due: LocalDate | None = None
    started_at: Instant | None = None
    done: bool = False
    owner: str = ""
    url: str = ""
    tags: list[str] = []  # noqa: RUF012 - msgspec copies it
    number: int = 0


items = domain.standard(Item, operations=("list", "get", "create"), sort=("title",))


@domain.command("bench.fill", deadline=120)
def fill(tx: Transaction, *, first: int, count: int) -> list[str]:
    """Insert `count` items in one transaction and return their ids."""
    return [tx.insert(item(number)).id for number in range(first, first + count)]


def item(number: int) -> Item:
    """Return the item of a number, about 500 bytes of JSON."""
    return Item(
        title=f"Item {number}: mend the hinge of the left door",
        body="It creaks when it is opened slowly, and does not close by itself.",
        priority=number % 5,
        points=1.5,
        due="2026-12-24",
        owner="user",
        url=f"https://example.org/items/{number}",
        tags=["house", "door"],
        number=number,
    )
