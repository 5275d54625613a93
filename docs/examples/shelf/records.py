"""What the shelf keeps and says."""

from typing import Literal

from coder_local.api import Domain, Event, Record, Settings, Title

domain = Domain("shelf", version="1.0.0")


@domain.table("books", unique=[("workspace_id", "title")])
class Book(Record):
    """A book, and how far one is with it."""

    title: Title
    author: str = ""
    state: Literal["wanted", "open", "read"] = "wanted"
    place: int | None = None
    """Where it stands on the list of books that were read, 1 first; none before it was."""


@domain.table("marks", history=False)
class Mark(Record):
    """That a finished book was noticed: it is written by the listener."""

    book: str


books = domain.standard(Book, filters=("state",), sort=("title",), search=("title", "author"))
marks = domain.standard(Mark, operations=("list",))


@domain.event("shelf.book.finished")
class Finished(Event):
    """A book was read to its end."""

    book: str


@domain.settings
class ShelfSettings(Settings):
    """Settings of the shelf."""

    goal: int = 12
    """Books to read in a year."""
