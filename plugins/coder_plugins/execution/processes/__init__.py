"""Child processes: each in a folder of its own, which tells of it also to a daemon that did not start it.

What it promises:

- A command never holds a pipe of the daemon: killing the daemon neither stops it nor costs its output or its result.
- No start record means that it never began; no exit record, and no process, means that nobody knows how it ended.
- Secret values are masked before the first byte is stored, and neither they nor the environment are written to disk.
- A process is known by id, start time and boot: a later one with the same id is never signalled or taken for it.
- `stop` answers when every process of the command is gone, or names those that would not die.

`start` begins a command; `find` says what the folder of an attempt tells. A shim (`shim`) stands beside each command.
"""

from .child import Child, Exit
from .launch import Command, LaunchError, start, warm
from .recover import Alive, Ended, NotBegun, Vanished, find
from .shim.frames import GAP, STDERR, STDOUT, Frame
from .shim.frames import iterate as iterate_frames
from .shim.frames import read as read_frames
from .shim.frames import tail as tail_frames
from .shim.identity import boot_id
from .shim.members import MARK
from .waiting import unbroken

__all__ = [
    "GAP",
    "MARK",
    "STDERR",
    "STDOUT",
    "Alive",
    "Child",
    "Command",
    "Ended",
    "Exit",
    "Frame",
    "LaunchError",
    "NotBegun",
    "Vanished",
    "boot_id",
    "find",
    "iterate_frames",
    "read_frames",
    "start",
    "tail_frames",
    "unbroken",
    "warm",
]
