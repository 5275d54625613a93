"""What a command prints: an answer on standard output, remarks and errors on standard error.

On a terminal answers are tables and errors are sentences; in a pipe, and with `--json`, both are JSON.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from . import tables
from .errors import INTERRUPTED, UNREAD, to_wire
from .shapes import is_object, rows_of

if TYPE_CHECKING:
    from coder_ipc.errors import IpcError


def prepare_streams() -> None:
    """Keep any text from crashing the command: a console may have few characters, a pipe always gets UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            if not stream.isatty():
                reconfigure(encoding="utf-8")
            reconfigure(errors="replace")


class Output:
    """Where one command writes."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json or not is_terminal(sys.stdout)
        self.quiet = quiet
        self.errors_as_json = as_json

    def answer(self, value: Any, operation: str = "") -> None:
        """Print the daemon's answer to an operation."""
        if self.as_json:
            self.json(value)
            return
        from . import phrases  # noqa: PLC0415 - for a terminal only

        room, bold = width(), _is_styled()
        said = phrases.of(operation, value, room, bold=bold)
        self.text(tables.render(value, room, bold=bold) if said is None else said)

    def item(self, value: Any) -> None:
        """Print one item of a stream at once."""
        if self.as_json:
            self.json(value)
        else:
            self.text(tables.clean(value, keep_lines=True) if isinstance(value, str) else to_json(value, sys.stdout))
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        """Print a value as one line of JSON."""
        print(to_json(value, sys.stdout))

    def text(self, text: str) -> None:
        """Print text that holds no control characters but line ends."""
        if text:
            print(text)

    def note(self, text: str) -> None:
        """Remark something beside the answer."""
        if not self.quiet:
            print(tables.clean(text), file=sys.stderr, flush=True)

    def error(self, error: IpcError) -> int:
        """Print an error and return its exit code."""
        wire = to_wire(error)
        if self.errors_as_json:
            print(to_json(wire, sys.stderr), file=sys.stderr)
        else:
            print("\n".join(_sentences(wire)), file=sys.stderr)
        return error.exit_code


def _sentences(wire: dict[str, Any]) -> list[str]:
    lines = [f"error: {tables.clean(str(wire['message']), keep_lines=True)}"]
    data = wire.get("data")
    faults = rows_of(data.get("faults")) if is_object(data) else []
    for fault in faults if len(faults) > 1 else []:
        hint = f" ({fault['hint']})" if fault.get("hint") else ""
        lines.append(tables.clean(f"  {fault.get('field') or '/'}: {fault.get('message', '')}{hint}"))
    if wire.get("field") and len(faults) < 2:
        lines.append(tables.clean(f"  field: {wire['field']}"))
    if wire.get("hint") and len(faults) < 2:
        lines.append(tables.clean(f"hint: {wire['hint']}"))
    return lines


def to_json(value: Any, stream: TextIO) -> str:
    """Return one line of JSON that the stream's encoding can hold whole."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        # a replaced character would be other JSON: an escape is the same
        return json.dumps(value, separators=(",", ":"))
    return text


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person reads the stream; a closed or missing one is nobody's."""
    with suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def width() -> int:
    """Return the columns of the terminal, never fewer than a table needs to say anything."""
    import shutil  # noqa: PLC0415 - loads the compression modules; a pipe needs it not

    return max(shutil.get_terminal_size().columns, 20)


def finish() -> int | None:
    """Flush standard output; return the exit code when nobody reads it, else None."""
    try:
        sys.stdout.flush()
    except OSError:  # Windows says EINVAL where others say EPIPE
        return abandon()
    return None


def abandon() -> int:
    """Give standard output up, so that Python's own flush at the end does not complain, and return the exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


def interrupted() -> int:
    """Say that Ctrl-C was heard, and return the exit code."""
    with suppress(OSError):
        print("interrupted", file=sys.stderr)
    return INTERRUPTED


def _is_styled() -> bool:
    return sys.platform != "win32" and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
