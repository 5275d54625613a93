"""What may be asked of notes."""

from coder_local.api import Transaction

from .records import Note, NotePinned, domain


@domain.command("notes.pin", emits=NotePinned)
def pin(tx: Transaction, *, id: str, pinned: bool = True) -> Note:
    """Pin a note to the top of its workspace, or let it go."""
    note = tx.update(tx.get(Note, id), pinned=pinned)
    tx.emit(NotePinned(note=note.id))  # becomes visible only if the transaction commits
    return note
