"""What goes wrong on this side of the wire, in the shape that the daemon's errors have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coder_ipc.errors import EXIT_CODES, CallTimeout, IpcError, NotRunning, RemoteError

if TYPE_CHECKING:
    from pathlib import Path

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
UNREAD = 141
"""Exit code when nobody reads the output any more, as of a program that SIGPIPE ended."""
NO_DIRECTORY = 73
"""Exit code when the data directory cannot be made or written, the same as that of `serve`."""


class Failure(IpcError):
    """A command that cannot go on; `kind` is one of the daemon's error kinds."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.field = field
        self.data = data

    @property
    def exit_code(self) -> int:
        """Return the exit code of the kind."""
        return EXIT_CODES[self.kind]


class NoDirectory(Failure):
    """The data directory is none, or cannot be made or written."""

    def __init__(self, folder: Path, fault: OSError) -> None:
        why = "it is no folder" if isinstance(fault, FileExistsError) else fault.strerror or str(fault)
        if fault.filename is not None and str(fault.filename) != str(folder):
            why = f"{why}: {fault.filename}"
        super().__init__("refused", f"the data directory {folder} cannot be used: {why}", hint=DIRECTORY_HINT)

    @property
    def exit_code(self) -> int:
        """Return the code that `serve` ends with for the same reason."""
        return NO_DIRECTORY


DIRECTORY_HINT = "make it a folder that you may write, or choose another with --data-dir or CODER_LOCAL_DATA_DIR"


def invalid(message: str, *, field: str | None = None, hint: str | None = None) -> Failure:
    """Return the failure of a command that was given something wrong."""
    return Failure("invalid", message, field=field, hint=hint)


def to_wire(error: IpcError) -> dict[str, Any]:
    """Return the error as the daemon would say it: `{kind, message, field?, hint?, data?}`."""
    kind = "broken"
    if isinstance(error, RemoteError | Failure):
        kind = error.kind
    elif isinstance(error, NotRunning):
        kind = "not_found"
    elif isinstance(error, CallTimeout):
        kind = "timeout"
    wire = {"kind": kind, "message": error.message}
    more = {"field": getattr(error, "field", None), "hint": error.hint, "data": getattr(error, "data", None)}
    return wire | {name: value for name, value in more.items() if value}
