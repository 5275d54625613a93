"""What a plugin writes keeps its types: decorators change nothing, and records come back as themselves."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, assert_type

from coder_local.api import (
    Context,
    Domain,
    Duration,
    Event,
    Fault,
    Heard,
    Id,
    Instant,
    Money,
    Operation,
    Page,
    Rank,
    Record,
    Rights,
    Settings,
    Snapshot,
    Title,
    Transaction,
    Value,
    ZonedTime,
    between,
    replace,
    sequence,
)

domain = Domain("shelf", version="1.0.0", requires=("notes",))


@domain.table("books", unique=[("isbn",)], indexes=[("title",)], read_only=("lent",))
class Book(Record):
    """A book."""

    title: Title
    isbn: str | None = None
    price: Money | None = None
    due: ZonedTime | None = None
    reading: Duration | None = None
    rank: Rank = "V"
    lent: bool = False


@domain.table("loans", history=False)
class Loan(Record):
    """A loan, which only the shelf writes."""

    book: Id
    rights: Rights
    state: str = "out"


@domain.event("shelf.book.lent")
class BookLent(Event):
    """A book was lent."""

    book: Id


@domain.settings
class ShelfSettings(Settings):
    """How lending works."""

    days: int = 14


class Answer(Value):
    """An answer that is no record."""

    count: int
    books: list[Book]


books = domain.standard(Book, filters=("lent",), sort=("title",), search=("title",))
assert_type(books.record, type[Record])


@domain.query("shelf.shortest")
def shortest(read: Snapshot, *, limit: int = 10) -> Answer:
    """Return the shortest books."""
    found = read.select(Book, "reading IS NOT NULL", order="reading", limit=limit)
    assert_type(found, list[Book])
    assert_type(read.get(Book, "b"), Book)
    assert_type(read.find(Book, "b", deleted=True), Book | None)
    assert_type(read.rows("SELECT 1"), list[tuple[Any, ...]])
    assert_type(read.settings(ShelfSettings).days, int)
    assert_type(read.now(), Instant)
    assert_type(read.offers("notes.list"), bool)
    return Answer(count=len(found), books=found)


@domain.query("shelf.page", quick=True)
def page(read: Snapshot, *, limit: int = 10) -> Page[Book]:
    """Return a page of books."""
    return Page(items=read.select(Book, limit=limit))


@domain.query("shelf.count")
def count(read: Snapshot) -> int:
    """Return how many books there are."""
    return len(read.select(Book))


@domain.command("shelf.lend", emits=BookLent)
def lend(tx: Transaction, *, id: str, lent: bool = True) -> Book:
    """Lend a book, or take it back."""
    book = tx.update(tx.get(Book, id), lent=lent)
    assert_type(book, Book)
    assert_type(tx.insert(Book(title="A")), Book)
    assert_type(tx.delete(book), Book)
    assert_type(tx.restore(book), Book)
    assert_type(tx.number("cards"), int)
    assert_type(replace(book, title="B"), Book)
    assert_type(book.title, str)
    assert_type(book.rev, int)
    assert_type(book.deleted_at, str | None)
    assert_type(shortest(tx, limit=3), Answer)  # a query is called in a transaction as it is
    tx.emit(BookLent(book=book.id))
    return book


@domain.command("shelf.forget", emits=(BookLent,))
def forget(tx: Transaction, *, id: str) -> None:
    """Forget a book."""
    tx.delete(tx.get(Book, id))


@domain.action("shelf.look_up", deadline=20)
async def look_up(ctx: Context, *, isbn: str) -> Book | None:
    """Look a book up on the network."""
    ctx.progress(1, 2, isbn)
    assert_type(ctx.offered("widgets"), Iterable[Any])
    assert_type(ctx.settings(ShelfSettings), ShelfSettings)
    found = await ctx.call("shelf.shortest", limit=1)
    return Book(title=str(found)) if found else None


@domain.stream("shelf.follow")
async def follow(ctx: Context, *, shelf: str = "") -> AsyncIterator[Book]:
    """Yield books as they come."""
    yield Book(title=ctx.now() + shelf)


@domain.rule(Book)
def a_lent_book_has_a_number(tx: Transaction, before: Book | None, after: Book) -> None:
    """A book that is lent has an ISBN."""
    assert_type(before, Book | None)
    assert_type(after.title, str)
    assert_type(tx.find(Book, after.id), Book | None)


@domain.hook
def searchable_records() -> list[type[Record]]:
    """Offer books to search."""
    return [Book]


@domain.on_start
async def started(ctx: Context) -> None:
    """Look at the shelf once."""
    await ctx.call("shelf.count")


@domain.on_stop
async def stopped(ctx: Context) -> None:
    """Write down what is lent."""
    assert_type(await ctx.transact(take_back, "b", days=3), Book)
    assert_type(await ctx.read(shortest, limit=1), Answer)
    assert_type(await ctx.acting(ctx.rights()).transact(lambda tx: tx.number("n")), int)


@domain.listener("notes.*", "shelf.book.lent")
def note_loan(tx: Transaction, *, event: Heard) -> None:
    """Write a loan down."""
    assert_type(event.data, dict[str, Any])
    assert_type(event.time, Instant)
    loan = tx.insert(Loan(book=event.data["book"], rights=tx.rights()))
    with tx.acting(loan.rights, "shelf.step") as inner:
        assert_type(inner, Transaction)
        assert_type(inner.update(loan, state="back"), Loan)


def take_back(tx: Transaction, id: str, *, days: int) -> Book:
    """Take a book back after some days."""
    return tx.update(tx.get(Book, id), lent=days > 3)


async def follows(read: Snapshot, ctx: Context) -> None:
    """Look things up, and listen."""
    assert_type(read.operation("shelf.lend"), Operation)
    assert_type(read.check("shelf.lend", {"id": 3}), list[Fault])
    assert_type(read.rights(), Rights)
    assert_type(read.folder, Path)
    assert_type(ctx.folder, Path)
    assert_type(ctx.now_ms(), int)
    with ctx.subscribe("shelf.*", subjects=["shelf.book/b"]) as events:
        async for event in events:
            assert_type(event, Heard)


async def calls(read: Snapshot, tx: Transaction, ctx: Context) -> None:
    """Functions are called as they were written: direct calls are checked."""
    assert_type(shortest(read), Answer)
    assert_type(page(read).items, list[Book])
    assert_type(count(tx), int)
    assert_type(lend(tx, id="b"), Book)
    assert_type(await look_up(ctx, isbn="1"), Book | None)
    async for book in follow(ctx, shelf="s"):
        assert_type(book, Book)
    assert_type(searchable_records(), list[type[Record]])
    assert_type(between("A", None), str)
    assert_type(sequence(None, None, 3), list[str])
    assert_type(BookLent, type[BookLent])
    assert_type(ShelfSettings().days, int)
