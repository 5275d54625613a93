"""Where the daemon of a data directory is: `runtime.json`, the data directory and the socket's address."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

from .errors import IpcError

APP = "coder-local"
RUNTIME_FILE = "runtime.json"

# sun_path of sockaddr_un, its final NUL not counted: 108 bytes on Linux, 104 on macOS and the BSDs
SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103

_FILE_LIMIT = 64 * 1024


class Runtime(NamedTuple):
    """The daemon that `runtime.json` names; it may be dead. `process_started_at` is in Unix seconds."""

    protocol: int
    version: str
    incarnation: str
    pid: int
    process_started_at: float
    socket: str
    http: str | None
    token: str
    data_dir: str

    def __repr__(self) -> str:
        """Return the fields without the token, which would otherwise reach logs and failing assertions."""
        return f"Runtime(incarnation={self.incarnation!r}, pid={self.pid}, data_dir={self.data_dir!r})"


def read(data_dir: str | os.PathLike[str]) -> Runtime | None:
    """Return the daemon that `runtime.json` of a data directory names, whether it still runs or not.

    None when the file is missing, truncated or not the daemon's: each means that no daemon can be found by it, and
    that the next one to start will write it anew. Raises `IpcError` only for a file that may not be read.
    """
    path = Path(data_dir, RUNTIME_FILE)
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as fault:
        raise IpcError(
            f"{path} cannot be read: {fault.strerror}", hint="run as the user who owns the data directory"
        ) from fault
    import json  # noqa: PLC0415 - a daemon that starts reads none

    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _runtime(cast("dict[str, Any]", value)) if isinstance(value, dict) else None


def _runtime(fields: dict[str, Any]) -> Runtime | None:
    """Return the record of a parsed file, None when a field is missing or of another type."""
    http = fields.get("http")
    texts = [fields.get(name) for name in ("version", "incarnation", "socket", "token", "data_dir")]
    numbers = [fields.get(name) for name in ("protocol", "pid")]
    started = fields.get("process_started_at")
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        return None
    # a bool is an int, and os.kill(True, ...) would signal init; pid 0 and below name process groups
    if not all(type(number) is int and number > 0 for number in numbers):
        return None
    if type(started) not in {int, float} or not (http is None or isinstance(http, str)):
        return None
    known = {name: fields[name] for name in Runtime._fields if name != "http"}
    return Runtime(**known, http=http)


def default_data_dir() -> Path:
    """Return the data directory used when none is named: `CODER_LOCAL_DATA_DIR`, else the user's data folder.

    Equals platformdirs' `user_data_dir("coder-local", appauthor=False)`, without the cost of importing it.
    """
    if named := os.environ.get("CODER_LOCAL_DATA_DIR"):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local or Path.home() / "AppData" / "Local") / APP
    # the XDG specification says that a relative path is to be ignored
    shared = os.environ.get("XDG_DATA_HOME", "")
    if shared.startswith("/"):
        return Path(shared) / APP
    below_home = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    return Path.home() / below_home / APP


def socket_path(data_dir: str | os.PathLike[str], *, limit: int = SOCKET_PATH_LIMIT) -> str:
    r"""Return the address that the daemon of a data directory listens at.

    `<data dir>/daemon.sock`; when that has more than `limit` bytes, a hashed name in a folder of the user's own (see
    `make_socket_folder`); on Windows `\\.\pipe\coder-local-<hash>`. Clients take the address from `runtime.json`: the
    short form depends on the environment, which may differ between them and the daemon.
    """
    folder = Path(data_dir).absolute()
    if sys.platform == "win32":
        return pipe_name(folder)
    path = str(folder / "daemon.sock")
    if len(os.fsencode(path)) <= limit:
        return path
    name = f"{APP}-{os.getuid()}/{_hash(os.path.realpath(folder))}.sock"
    # a TMPDIR may itself be too long; /tmp is short everywhere
    candidates = [str(Path(base, name)) for base in (*_runtime_folders(), "/tmp")]  # noqa: S108 (made 0700 and checked)
    return next((path for path in candidates if len(os.fsencode(path)) <= limit), candidates[-1])


def pipe_name(data_dir: str | os.PathLike[str]) -> str:
    r"""Return the named pipe of a data directory, `\\.\pipe\coder-local-<hash>`."""
    # Windows compares paths without case, so C:\Users\Ann and c:\users\ann must give one pipe
    return rf"\\.\pipe\{APP}-{_hash(os.path.normcase(os.path.realpath(data_dir)))}"


def make_socket_folder(socket: str) -> None:
    """Make the folder of a socket path, or close one of the user's own to everybody else (mode 0700).

    Raises `IpcError` when the folder, or a link in its place, belongs to another user: in a shared temporary folder
    anybody could have made it first, to listen in the daemon's place. Does nothing on Windows.
    """
    if sys.platform == "win32":
        return
    folder = Path(socket).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {folder.lstat().st_uid, folder.stat().st_uid} != {os.getuid()}:
        raise IpcError(
            f"{folder} belongs to another user, who could listen in the daemon's place",
            hint="have it removed, or choose another place with XDG_RUNTIME_DIR or --data-dir",
        )
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _runtime_folders() -> list[str]:
    import tempfile  # noqa: PLC0415 (loads random and shutil; only paths that are too long need it)

    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return [base for base in (runtime, tempfile.gettempdir()) if base.startswith("/")]


def _hash(text: str) -> str:
    import hashlib  # noqa: PLC0415 (loads OpenSSL; only long paths and Windows need it)

    return hashlib.blake2b(os.fsencode(text), digest_size=10).hexdigest()
