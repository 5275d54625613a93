"""What notes keep and say."""

from coder_local.api import Domain, Event, Record, Title

domain = Domain("notes", version="1.0.0")


@domain.table("notes")
class Note(Record):
    """A short text that belongs to one workspace."""

    workspace: str
    title: Title
    body: str = ""
    pinned: bool = False


notes = domain.standard(
    Note,
    operations=("list", "get", "create", "update", "delete", "history"),
    filters=("workspace", "pinned"),
    sort=("updated_at", "title"),
    search=("title", "body"),
)


@domain.event("notes.note.pinned")
class NotePinned(Event):
    """A note was pinned or unpinned."""

    note: str
