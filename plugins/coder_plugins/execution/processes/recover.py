"""What the folder of an attempt tells to a daemon that did not start it, or lost it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from .child import Child, Exit
from .shim import identity, members, records
from .shim.identity import Identity

_LOOKS, _LOOK_S = 50, 0.005
"""How often, and seconds apart, it is looked for what a living shim does in less than one of them."""


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
    child = child_of(folder, start)
    if identity.is_alive(child.identity) or identity.is_alive(child.shim):
        return Alive(child)
    # it may have ended between the first look and the last
    ended = records.read(str(folder), records.EXIT)
    return Vanished() if ended is None else Ended(msgspec.convert(ended, Exit))


def child_of(folder: Path, start: dict[str, Any]) -> Child:
    """Return the command that a start record speaks of.

    A shim that was killed in the very moment of the start leaves a record without the process. It is found by its mark
    then; if it is gone as well, the shim stands for it, which has ended: nobody knows how far the command came.
    """
    if "pid" not in start:
        shim = Identity(start["shim_pid"], start["shim_started"], start["boot"])
        start = _wait_for_leader(folder, shim) or start
        if "pid" not in start:
            # a shim that stands still would begin the command after this look
            _end(shim)
            start |= records.describe_leader(members.leader_of(start["mark"]) or shim)
    return Child(folder, start)


def _wait_for_leader(folder: Path, shim: Identity) -> dict[str, Any] | None:
    """Return the start record as soon as its shim has added the process, None if it does not do so soon."""
    for _ in range(_LOOKS):
        alive = identity.is_alive(shim)  # asked first: what it added before its end is seen by the next line
        start = records.read(str(folder), records.START)
        if start is None or "pid" in start or not alive:
            return start
        time.sleep(_LOOK_S)
    return None


def _end(shim: Identity) -> None:
    if sys.platform != "win32" and identity.is_alive(shim):
        with contextlib.suppress(ProcessLookupError):
            os.kill(shim.pid, signal.SIGKILL)
        for _ in range(_LOOKS):
            if not identity.is_alive(shim):
                return
            time.sleep(_LOOK_S)
