"""What the folder of an attempt tells to a daemon that did not start it, or lost it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .child import Child, Exit
from .shim import identity, records


class NotBegun(msgspec.Struct, frozen=True):
    """The command has never run, and never will in this folder: it may be begun in another."""


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

    What has not begun is kept from it: a daemon may have been killed just when it had handed the command to a shim,
    which would begin it after this look, beside the attempt that follows.
    """
    if (ended := records.read(str(folder), records.EXIT)) is not None:
        return Ended(msgspec.convert(ended, Exit))
    start = records.read(str(folder), records.START)
    if start is None:
        if boot not in (None, identity.boot_id()) or records.exists(str(folder)):
            return Vanished()
        return NotBegun() if records.forbid(str(folder)) else find(folder, boot)
    if records.FORBIDDEN in start:
        return NotBegun()
    child = Child(folder, start)
    if identity.is_alive(child.identity) or identity.is_alive(child.shim):
        return Alive(child)
    # it may have ended between the first look and the last
    ended = records.read(str(folder), records.EXIT)
    return Vanished() if ended is None else Ended(msgspec.convert(ended, Exit))
