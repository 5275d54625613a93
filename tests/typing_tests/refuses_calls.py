"""What a plugin may not call: each line with an ignore is an error to both type checkers."""

from coder_local.api import Context, Snapshot, Transaction, replace

from .keeps import Book, BookLent, ShelfSettings, lend, look_up, shortest


def direct_calls(read: Snapshot, tx: Transaction) -> None:
    """Break: a declared function is called with what its signature says."""
    lend(tx, id=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lend(tx, "b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    lend(tx)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    lend(tx, id="b", lnet=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    lend(read, id="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lend(tx, id="b").tittle  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    shortest(read, limit="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaiting(ctx: Context, tx: Transaction) -> None:
    """Break: only actions wait."""
    await lend(tx, id="b")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    found: Book = look_up(ctx, isbn="1")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    replace(found, title="B")


def records(tx: Transaction) -> None:
    """Break: records are immutable, have names, and are made by keyword."""
    book = tx.get(Book, "b")
    book.title = "B"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Book("B")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Book()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Book(title=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    BookLent(book=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wrong: int = book.title  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    tx.insert(wrong)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    tx.emit(book)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def scopes(read: Snapshot, tx: Transaction, words: str) -> None:
    """Break: a snapshot does not write, SQL is a literal, settings are one's own."""
    read.insert(Book(title="B"))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    read.select(Book, f"title = '{words}'")  # pyright: ignore[reportArgumentType]
    read.rows("SELECT " + words)  # pyright: ignore[reportArgumentType]
    read.call(words)  # pyright: ignore[reportArgumentType]
    read.settings(Book)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    read.settings(ShelfSettings).dais  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    tx.get(BookLent, "b")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


async def from_outside(ctx: Context, read: Snapshot, tx: Transaction) -> None:
    """Break: what is handed to transact and read is called as it was written, and only rights are acted with."""
    await ctx.transact(lend, id=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ctx.transact(lend)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await ctx.read(lend, id="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ctx.transact(look_up, isbn="1")  # type: ignore[arg-type, unused-coroutine]  # pyright: ignore[reportArgumentType]
    ctx.acting("agent:a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    read.acting(ctx.rights())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    tx.rights().actor = "user"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
