"""`support-bundle`: facts for whoever helps, without secrets and without content."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coder_ipc.errors import IpcError

from .app import Command
from .doctor import checks
from .errors import Failure, invalid
from .stopped import known

if TYPE_CHECKING:
    from argparse import Namespace

    from .parser import Parser
    from .session import Session

_PATIENCE = 30.0
"""Seconds that the daemon has for each question; one that hangs is what the bundle is often for."""
_ABOUT = """\
One zip file, for your eyes and those of whoever helps: versions, the doctor's findings, the last starts, the log in
our own words, counts and sizes. Without secrets, texts of yours, names of files, your name and that of the machine. It
works with a daemon that runs, hangs or is broken, and sends nothing: look into it, then send it yourself.
"""


def _arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the zip file to write")


def _bundle(session: Session, arguments: Namespace) -> int:
    from coder_local._daemon.bundle.parts import collect  # noqa: PLC0415 - for this command only

    folder = session.settings.data_dir
    if not folder.is_dir():
        raise Failure("not_found", f"there is no data directory {folder}", hint="name it with --data-dir")
    named: Path = arguments.file or Path(f"coder-local-support-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.zip")
    target = named.expanduser().absolute()
    limit = session.settings.timeout or _PATIENCE
    session.apply(session.settings._replace(timeout=limit))
    session.patience = min(session.patience, limit)
    looked = [check._asdict() for check in checks(session)]
    answers = any(check["check"] == "daemon" and check["message"].startswith("running") for check in looked)
    found = collect(folder, looked, _plugins(session, limit) if answers else [])
    _write(target, found)
    inside = [{"name": name, "bytes": len(content)} for name, content in found.items()]
    session.output.answer({"file": str(target), "inside": inside, "sent": False})
    session.output.note("nothing was sent: look into the file first, then send it yourself")
    return 0


def _plugins(session: Session, limit: float) -> list[dict[str, Any]]:
    with contextlib.suppress(IpcError, OSError):
        return known(session.attach(), limit)
    return []


def _write(target: Path, found: dict[str, bytes]) -> None:
    """Write the zip file, for its owner only."""
    import zipfile  # noqa: PLC0415 - for this command only

    try:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise invalid(f"{target} is there already", field="/file", hint="choose another name") from fault
    except OSError as fault:
        raise invalid(f"{target} cannot be written: {fault.strerror}", field="/file", hint="choose another") from fault
    try:
        with os.fdopen(file, "wb") as opened, zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in found.items():
                archive.writestr(name, content)
    except OSError as fault:  # a full disk is what a bundle may be about
        target.unlink(missing_ok=True)
        raise invalid(f"{target} cannot be written: {fault.strerror}", field="/file", hint="choose another") from fault


COMMANDS = {"support-bundle": Command(_arguments, _bundle, _ABOUT)}
