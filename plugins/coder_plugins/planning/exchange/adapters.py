"""Reading the file that is imported, and writing the one that is exported; blocking, so to be run in a thread."""

from __future__ import annotations

import codecs
import os
import stat
from contextlib import suppress
from pathlib import Path

from coder_local.api import Conflict, Error, Invalid, NotFound, Refused, TooLarge

_VERSION_CONTROL = (".git", ".hg", ".jj", ".svn")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str, limit: int) -> str:
    """Return the text of a regular file of at most `limit` bytes, in UTF-8, or in UTF-16 with its mark.

    Raises the named error that tells what is wrong with the path or the file.
    """
    file = _absolute(path)
    try:
        found = file.stat()
        if stat.S_ISDIR(found.st_mode):
            raise _bad(f"{path} is a folder", "name a file in it")
        if not stat.S_ISREG(found.st_mode):
            # A pipe or a device may never end, and would hold the thread for ever.
            raise _bad(f"{path} is no regular file", "copy what it holds into a file first, or pass it as text")
        if found.st_size > limit:
            raise _too_large(path, limit)
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _named(error, path, "read") from error
    if len(data) > limit:  # it grew meanwhile
        raise _too_large(path, limit)
    return _decoded(data, path)


def write_text(path: str, text: str, *, overwrite: bool) -> int:
    """Write a file whole or not at all, and return its size in bytes.

    Raises `Conflict` if it is there and is not to be overwritten.
    """
    file, data = _absolute(path), text.encode()
    try:
        if file.is_dir():
            raise _bad(f"{path} is a folder", "name a file in it")
        if overwrite:
            _replace(file, data)
        else:
            _create(file, data)
    except FileExistsError as error:
        raise Conflict(
            f"{path} is there already",
            field="/path",
            hint="pass overwrite to replace it, or name another file",
            data={"path": path},
        ) from error
    except (OSError, ValueError) as error:
        raise _named(error, path, "written") from error
    return len(data)


def label_of(path: str) -> str:
    """Return the path by which a file's records are named.

    Inside a repository it begins at the root, so that the records are the same ones on every machine that has it; else
    it is the whole path.
    """
    file = Path(path)
    for folder in file.parents:
        if any((folder / name).exists() for name in _VERSION_CONTROL):
            return file.relative_to(folder).as_posix()
    return file.as_posix()


def _absolute(path: str) -> Path:
    file = Path(path)
    if not file.is_absolute():
        hint = f"give the whole path, like {Path.home() / 'project' / 'issues.jsonl'}"
        raise _bad(f"{path[:200]} is a relative path, and the daemon does not know your current folder", hint)
    return file


def _decoded(data: bytes, path: str) -> str:
    """Return the text of a file's bytes; what a PowerShell of Windows writes with `>` is UTF-16."""
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(f"{path} is not text in UTF-8 (line {line})", "save it as UTF-8, or export it again") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _bad(f"{path} is no text: it holds the character NUL (line {line})", "name a text file")
    return text


def _create(file: Path, data: bytes) -> None:
    with file.open("xb") as opened:
        try:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        except BaseException:
            with suppress(OSError):
                file.unlink()
            raise


def _replace(file: Path, data: bytes) -> None:
    import tempfile  # noqa: PLC0415 - 2 ms with what it imports, and only for an export into a file

    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            Path(name).chmod(stat.S_IMODE(file.stat().st_mode))
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _named(error: OSError | ValueError, path: str, verb: str) -> Error:
    if isinstance(error, FileNotFoundError):
        missing = "there is no file" if verb == "read" else "there is no folder for"
        return NotFound(f"{missing} {path}", field="/path", hint="check the path", data={"path": path})
    if isinstance(error, PermissionError):
        return Refused(
            f"{path} may not be {verb} by this user", field="/path", hint="change its permissions, or copy it"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _bad(f"{path[:200]!r} cannot be {verb}: {reason}", "check the path and the disk")


def _bad(message: str, hint: str) -> Invalid:
    return Invalid(message, field="/path", hint=hint)


def _too_large(path: str, limit: int) -> TooLarge:
    return TooLarge(
        f"{path} is over {limit // (1024 * 1024)} MiB",
        field="/path",
        hint="divide it into several files; each can be imported",
        data={"limit": limit},
    )
