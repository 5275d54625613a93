"""What the folder of an attempt tells to a daemon that did not start it, or lost it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .child import Child, Exit
from .shim import identity, records


class NotBegun(msgspec.Struct, frozen=True):
    """The command has never run: it may be begun now."""


class Alive(msgspec.Struct, frozen=True):
    """The command runs, or its shim is just writing down how it ended: wait for it."""

    child: Child


class Ended(msgspec.Struct, frozen=True):
    """The command has ended, and how is known."""

    exit: Exit


class Vanished(msgspec.Struct, frozen=True):
    """The command was begun and is gone, and nobody knows how far it came."""


def find(folder: Path, boot: str | None = None) -> NotBegun | Alive | Ended | Vanished:
    """Say what has become of the command of an attempt.

    `boot` is the boot of the machine (`boot_id`) in which the attempt was to begin, where the caller has it on disk for
    certain. The start record is not waited for to be on the disk, so after a power cut its absence proves nothing:
    with a `boot` that is not the present one, it means vanished and not never begun.
    """
    if (ended := records.read(str(folder), records.EXIT)) is not None:
        return Ended(msgspec.convert(ended, Exit))
    start = records.read(str(folder), records.START)
    if start is None:
        half = records.exists(str(folder))
        return NotBegun() if boot in (None, identity.boot_id()) and not half else Vanished()
    child = Child(folder, start)
    if identity.is_alive(child.identity) or identity.is_alive(child.shim):
        return Alive(child)
    # it may have ended between the first look and the last
    ended = records.read(str(folder), records.EXIT)
    return Vanished() if ended is None else Ended(msgspec.convert(ended, Exit))
