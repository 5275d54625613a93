"""Whether a daemon may live in a data directory; what is wrong is said with its cure, before anything is written."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from coder_ipc import runtime

from . import mount

ANOTHER = "give another one with --data-dir or CODER_LOCAL_DATA_DIR"


class DirectoryError(Exception):
    """The data directory cannot be used; the message says why, `hint` what cures it."""

    def __init__(self, folder: Path, why: str, hint: str) -> None:
        super().__init__(f"the data directory {folder} cannot be used: {why}")
        self.hint = hint


def prepare(folder: Path, *, allow_network: bool = False) -> Path:
    """Make the data directory where there is none, close it to other users, and return it without links.

    `allow_network` takes one on a network drive. Raises `DirectoryError`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve()
        _refuse_another_s(folder)
        _refuse_mount(folder, allow_network=allow_network)
        if os.name == "posix":
            folder.chmod(0o700)
    except OSError as error:
        raise cannot(folder, error) from error
    if stat.S_ISDIR(_mode(folder / runtime.RUNTIME_FILE)):
        why = f"{runtime.RUNTIME_FILE} in it is a folder, where the daemon writes the file by which it is found"
        raise DirectoryError(folder, why, "move that folder away")
    return folder


def cannot(folder: Path, error: OSError) -> DirectoryError:
    """Return the error of a data directory for one of the system's: in words, with the path that is to be mended."""
    path = _in_the_way(Path(os.fsdecode(error.filename)) if error.filename else folder, error.errno)
    name = "it" if path == folder else str(path)
    if error.errno in (errno.EACCES, errno.EPERM):
        who = "this user" if sys.platform == "win32" else _name(os.geteuid())
        return DirectoryError(folder, f"{who} may not write {name}", f"change the permissions of {path}, or {ANOTHER}")
    why, cure = _WHY.get(error.errno or 0, ("{name}: {system}", "look at {path}"))
    words = {"name": name, "path": path, "system": error.strerror or type(error).__name__}
    return DirectoryError(folder, why.format(**words), f"{cure.format(**words)}, or {ANOTHER}")


_WHY = {
    errno.EROFS: ("its file system is mounted read-only", "mount it for writing"),
    errno.EEXIST: ("{name} is no folder", "move {path} away"),
    errno.ENOTDIR: ("{name} is no folder", "move {path} away"),
    errno.EISDIR: ("{name} is a folder, where the daemon has a file of its own", "move {path} away"),
    errno.ELOOP: ("the links at {name} lead in a circle", "take the link {path} away"),
    errno.ENAMETOOLONG: ("its name is longer than the file system takes", "choose a shorter one"),
    errno.ENOSPC: ("its disk is full", "free some space"),
    errno.EDQUOT: ("this user has no room left on its disk", "free some space"),
    errno.ENOLCK: ("its file system has no locks ({system})", "mount it with locks"),
    errno.EOPNOTSUPP: ("its file system has no locks ({system})", "mount it with locks"),
    errno.EIO: ("its disk does not read or write ({system})", "look after the disk"),
}
"""Why, and what cures it, by the system's number."""
_NO_FOLDER = (errno.EEXIST, errno.ENOTDIR)
_HIDDEN = (errno.EACCES, errno.EPERM, errno.ELOOP)
"""Where the parts behind the one that is meant cannot be seen."""


def _in_the_way(path: Path, number: int | None) -> Path:
    """Return the part of a path that an error is about: what is no folder there, or the last part that can be seen."""
    seen = [each for each in (path, *path.parents) if _mode(each)]
    if number in _NO_FOLDER:
        return next((each for each in reversed(seen) if not _is_folder(each)), path)
    return seen[0] if number in _HIDDEN and seen else path


def _refuse_another_s(folder: Path) -> None:
    """Root could write there, but what it leaves could not be read by the owner, nor its socket be used."""
    if sys.platform == "win32":
        return
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        why = f"it belongs to {_name(owner)}, and this is {_name(os.geteuid())}"
        raise DirectoryError(folder, why, f"run it as {_name(owner)}, or {ANOTHER}")


def _refuse_mount(folder: Path, *, allow_network: bool) -> None:
    try:
        found = mount.kind(folder)
    except Exception:  # noqa: BLE001 - however a system fails to tell, the first write will
        return
    if found.read_only:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
    if not found.network:
        return
    why = f"it is on a network drive ({found.type} at {found.place}), where locks may not hold and the database "
    why += "would be damaged"
    if not allow_network:
        only = "if no other machine ever uses it, say so with --allow-network-directory"
        raise DirectoryError(folder, why, f"{ANOTHER}, on a disk of this machine; {only}")
    sys.stderr.write(f"warning: {folder} is used all the same: {why} by a second machine\n")


def _name(uid: int) -> str:
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415 - for an error only

        with contextlib.suppress(KeyError):
            return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    return f"user {uid}"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
