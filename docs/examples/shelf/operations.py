"""What may be asked of the shelf beyond the standard operations."""

from collections.abc import AsyncIterator

from coder_local.api import Conflict, Context, Heard, Id, Safety, Snapshot, Transaction, Value

from .records import Book, Finished, Mark, ShelfSettings, domain


class Progress(Value):
    """How the year goes."""

    read: int
    open: int
    goal: int
    """Books to read, as the settings say."""


@domain.query("shelf.progress")
def progress(read: Snapshot) -> Progress:
    """Tell how many books were read, of how many one wants to read in a year."""
    counted = dict(
        read.rows("SELECT state, count(*) FROM shelf_books WHERE workspace_id = :w GROUP BY state", w=read.workspace)
    )
    return Progress(read=counted.get("read", 0), open=counted.get("open", 0), goal=read.settings(ShelfSettings).goal)


@domain.command("shelf.begin")
def begin(tx: Transaction, *, id: Id) -> Book:
    """Begin to read a book; at most three are open at a time."""
    book = tx.update(tx.get(Book, id), state="open")
    if len(tx.select(Book, "state = 'open' AND workspace_id = :w", w=tx.workspace)) > 3:
        raise Conflict("three books are open already", hint="finish one of them first")
    return book


@domain.command("shelf.finish", emits=Finished)
def finish(tx: Transaction, *, id: Id) -> Book:
    """Put a book on the list of those that were read."""
    book = tx.get(Book, id)
    if book.state == "read":
        raise Conflict(f"{book.title} was read already")
    book = tx.update(book, state="read", place=tx.number(f"shelf.{tx.workspace}"))
    tx.emit(Finished(book=book.id))
    return book


@domain.listener("shelf.book.finished")
def notice(tx: Transaction, *, event: Heard) -> None:
    """Write down that a book was finished."""
    tx.insert(Mark(book=event.data["book"]))


@domain.action("shelf.plan", safety=Safety.WRITE)
async def plan(ctx: Context, *, id: Id) -> str:
    """Make a task of reading a book, and return its id."""
    book = await ctx.read(_book, id)
    ctx.progress(1, 2, "making the task")
    task = await ctx.call("planning.tasks.create", title=f"Read {book.title}")
    await ctx.transact(_remember, id, task["id"])
    return str(task["id"])


def _book(read: Snapshot, id: str) -> Book:
    return read.get(Book, id)


def _remember(tx: Transaction, id: str, task: str) -> None:
    book = tx.get(Book, id)
    tx.update(book, meta={**book.meta, "task": task})


@domain.stream("shelf.follow")
async def follow(ctx: Context, *, count: int) -> AsyncIterator[str]:
    """Tell the ids of the next books that are finished; first the word `ready`."""
    with ctx.subscribe("shelf.book.finished") as events:
        yield "ready"
        left = count
        while left > 0:
            event = await anext(events)
            yield event.data["book"]
            left -= 1
