"""What SQLite's own errors mean to a caller."""

from __future__ import annotations

import sqlite3
import sys

from coder_local.api import Broken, Error, Locked, TimedOut


class OverDeadline(BaseException):
    """Raised inside what took too long. No `Exception`: a plugin's own handler must not swallow it."""


def raise_in(thread: int | None, error: type[BaseException]) -> bool:
    """Have an exception raised in another thread at its next step of Python; False if not, for it is no moment for it.

    That is inside the standard library: imports and logging take locks at one step, and enter the block that gives them
    back at the next. With an exception between the two, all who need the lock afterwards would hang.
    """
    import ctypes  # noqa: PLC0415 - 5 ms, and only for a plugin that does not come to an end

    # Nothing else may come between the look and the strike: what was seen must still hold when it lands.
    frame = sys._current_frames().get(thread or 0)  # pyright: ignore[reportPrivateUsage] - the documented way to another thread's stack
    if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] in sys.stdlib_module_names:
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), ctypes.py_object(error))
    return True


def take_back(thread: int) -> None:
    """Have nothing raised in a thread, if it was not yet."""
    import ctypes  # noqa: PLC0415 - as above

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def translate(error: BaseException) -> BaseException:
    """Return the named error for one of SQLite's; any other error as it is."""
    if isinstance(error, OverDeadline):
        return over_deadline()
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return Locked("the disk is full: nothing was written", hint="free some space, then call again")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}:
        return Locked("the data directory cannot be written: nothing was written", hint="check its permissions")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Locked("the database is busy", hint="another program holds it; close it, then call again")
    if code == sqlite3.SQLITE_INTERRUPT:
        return over_deadline()
    if is_damage(error):
        return damaged(error)
    if code == sqlite3.SQLITE_IOERR:
        return Locked("the disk cannot be read or written: nothing was written", hint="check the disk, then call again")
    return error


def over_deadline() -> TimedOut:
    """Return the answer to a command that was stopped at its deadline."""
    return TimedOut("it took longer than its deadline and was rolled back: nothing was written")


def is_damage(error: BaseException) -> bool:
    """Tell whether an error means that the database file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, sqlite3.DatabaseError) and code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def damaged(error: BaseException) -> Error:
    """Return the answer while the database file is damaged."""
    return Broken(
        "the database file is damaged; what is readable still answers",
        hint="restart the daemon: it sets the file aside and offers the newest good snapshot",
        data={"damage": str(error)},
    )
