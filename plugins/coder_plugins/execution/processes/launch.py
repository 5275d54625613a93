"""Starting a command: what can be wrong is said before anything runs."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from .child import Child
from .forms import find_forms
from .recover import child_of
from .shim import records
from .shim.members import MARK

if sys.platform == "win32":
    from .windows import open_link, warm
else:
    from .posix import open_link, warm

__all__ = ["Command", "LaunchError", "start", "warm"]

_LOG_LIMIT = 64 * 1024 * 1024
_TRIES = 20  # each shim that was killed while it waited costs one


class LaunchError(Exception):
    """A command could not be begun, and nothing of it ran. `field` is a JSON pointer into the command."""

    def __init__(self, message: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and how.

    `argv` is the program and its arguments: no shell reads it. The program is looked for in the PATH of `env`, or
    relative to `cwd` when it holds a slash. `env` is the whole environment: nothing is inherited, and only
    `CODER_LOCAL_ATTEMPT` is added where it is not given; give each attempt its own. `mask` holds secret values, which
    the log shows as `***`, in common encodings too. `on_daemon_death` says whether the command goes on or is killed
    when the daemon dies (or lets go of it). `log_limit` bounds the log in bytes: over it, the output's last part, at
    most 1 MiB, is kept, and what lies between is dropped.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    mask: tuple[str, ...] = ()
    on_daemon_death: Literal["adopt", "kill"] = "adopt"
    log_limit: int = _LOG_LIMIT


async def start(folder: Path, command: Command) -> Child:
    """Begin a command in the folder of its attempt, which exists and has no other.

    Returns when the program is loaded. Raises `LaunchError` when it cannot be, and then no start record is left.
    """
    spec = _specify(folder, command)
    for _ in range(_TRIES):
        link = await open_link(spec)
        try:
            answer = await link.hear()
        except BaseException:
            link.close()
            raise
        if answer is not None and "started" in answer:
            return Child(folder, answer["started"], link)
        link.close()
        if answer is not None:
            raise _explain(answer["refused"], command)
        # the shim was killed; without a start record it had not begun, and never will
        if (begun := records.read(str(folder), records.START)) is not None:
            return child_of(folder, begun)
    raise LaunchError("the process that begins commands ends before it begins one", field="/folder")


def _specify(folder: Path, command: Command) -> bytes:
    program = find_program(command)
    if records.exists(str(folder)):
        raise LaunchError(
            f"the folder of the attempt has one already: {folder}", field="/folder", hint="make a new one"
        )
    mark = command.env.get(MARK) or secrets.token_hex(16)
    common = {"folder": str(folder.absolute()), "on_daemon_death": command.on_daemon_death}
    masks = [form.decode("latin-1") for form in find_forms(command.mask)]
    shim_part = common | {"mask": masks, "log_limit": command.log_limit}
    command_part = common | {
        "program": program,
        "argv": command.argv,
        "cwd": str(command.cwd),
        "env": command.env | {MARK: mark},
        "mark": mark,
    }
    return _encode(shim_part, command_part)


def _encode(*parts: dict[str, Any]) -> bytes:
    """Return the specification as the shim reads it: the lengths, then the parts."""
    texts = [json.dumps(part).encode("ascii") for part in parts]
    return b"".join(len(text).to_bytes(4, "big") for text in texts) + b"".join(texts)


def find_program(command: Command) -> str:
    """Return the path of a command's program. Raises `LaunchError` for whatever is wrong with the command."""
    _check_texts(command)
    if not os.path.isdir(command.cwd):  # noqa: PTH112 (a third of the time of the Path's, at each start)
        problem = "is not a folder" if command.cwd.exists() else "does not exist"
        raise LaunchError(
            f"the working folder {problem}: {command.cwd}", field="/cwd", hint="name a folder that exists"
        )
    name = command.argv[0]
    if os.path.dirname(name):  # noqa: PTH120 (`./x` and `x` differ here, and a Path makes them the same)
        path = command.cwd / name
        if not path.is_file():
            raise LaunchError(f"there is no program {path}", field="/argv/0", hint="the name is relative to cwd")
        if not os.access(path, os.X_OK):
            raise LaunchError(f"{path} is not executable", field="/argv/0", hint="set its executable bit: chmod +x")
        return str(path.absolute())
    found = _look_for(name, command)
    if found is None:
        hint = "give its path, or a PATH in env that holds its folder" if command.env.get("PATH") else "env has no PATH"
        raise LaunchError(f"command not found: {name}", field="/argv/0", hint=hint)
    return found


def _look_for(name: str, command: Command) -> str | None:
    """Return the absolute path of the first program of that name in the PATH of a command, None if there is none."""
    path = command.env.get("PATH", "")
    if sys.platform == "win32":  # there a name has many endings
        found = shutil.which(name, path=path)
        return None if found is None else str(Path(found).absolute())
    cwd = command.cwd.absolute()
    for folder in path.split(os.pathsep) if path else ():
        # `shutil.which` asks three times for each folder; an empty or relative one is the command's, not the daemon's
        found = os.path.join(cwd, folder, name)  # noqa: PTH118 (as above)
        if os.access(found, os.X_OK) and os.path.isfile(found):  # noqa: PTH113 (as above)
            return found
    return None


def _check_texts(command: Command) -> None:
    if not command.argv or not command.argv[0]:
        raise LaunchError("there is no program to run", field="/argv", hint="put its name first in argv")
    for number, argument in enumerate(command.argv):
        if "\0" in argument:
            raise LaunchError("an argument holds a NUL character", field=f"/argv/{number}")
    for name, value in command.env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise LaunchError(f"not an environment variable: {name!r}", field="/env", hint="no '=' or NUL in a name")
    if command.log_limit < 0:
        raise LaunchError("the limit of the log is negative", field="/log_limit", hint="give bytes, 0 or more")


_REASONS = {
    errno.E2BIG: ("arguments and environment are too large together", "pass large input by a file"),
    errno.ENOEXEC: ("is not a program: it has no #! line and is not made for this machine", "name its interpreter"),
    errno.EACCES: ("is not executable", "set its executable bit: chmod +x; its file system may forbid it too"),
    errno.ENOENT: ("was found, but not the interpreter that its #! line names", "install it, or name another"),
}


def _explain(refused: dict[str, Any], command: Command) -> LaunchError:
    """Turn the system's refusal into an error that names the cure."""
    field: str = refused.get("field", "/argv")
    if field == "/argv" and refused.get("errno") in _REASONS:
        problem, hint = _REASONS[refused["errno"]]
        return LaunchError(f"{command.argv[0]}: {problem}", field=field, hint=hint)
    return LaunchError(f"{command.argv[0]} could not be begun: {refused['message']}", field=field)
