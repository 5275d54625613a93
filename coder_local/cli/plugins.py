"""`plugins`: the daemon's operations on plugins, and two commands for who writes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import group
from .errors import Failure, invalid
from .parser import Parser, settings
from .tables import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .session import Session

_OWN = {
    "new": "write a working plugin, with a test, into a new folder",
    "check": "look a plugin's folder over, and say what is wrong with it",
}


def run(session: Session, rest: list[str], before: Sequence[str]) -> int:
    """Run the command of the group `plugins` that the words spell."""
    word = rest[0] if rest else ""
    if word == "new":
        return _new(session, [*before, *rest[1:]])
    if word == "check":
        return _check(session, [*before, *rest[1:]])
    return group.run(session, ["plugins", *rest], before=before, extra=_OWN)


def _new(session: Session, arguments: Sequence[str]) -> int:
    parser = Parser("coder-local plugins new", f"{_OWN['new'].capitalize()}.")
    parser.add_argument(
        "name", metavar="NAME", help="name of the plugin and of its operations: small letters, digits, _"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(), metavar="DIR", help="where to make the folder (default: here)"
    )
    parser.add_settings()
    parsed = parser.read(arguments)
    session.apply(settings(parsed))
    from coder_local.testing import scaffold  # noqa: PLC0415 - loads the store and the registry

    try:
        written = scaffold.create(parsed.name, parsed.dir)
    except FileExistsError as fault:
        raise Failure("conflict", f"{fault}", hint="choose another name, or another --dir") from fault
    except ValueError as fault:
        raise invalid(str(fault), field="/name") from fault
    except OSError as fault:
        raise Failure("refused", f"the plugin cannot be written: {fault}", hint="choose another --dir") from fault
    session.output.answer([str(path) for path in written])
    return 0


def _check(session: Session, arguments: Sequence[str]) -> int:
    parser = Parser("coder-local plugins check", f"{_OWN['check'].capitalize()}. Runs its code.")
    parser.add_argument("path", type=Path, metavar="PATH", help="the plugin's package, or the project around it")
    parser.add_settings()
    parsed = parser.read(arguments)
    session.apply(settings(parsed))
    if not parsed.path.is_dir():
        raise Failure("not_found", f"there is no folder {parsed.path}", field="/path")
    from coder_local.testing import scaffold  # noqa: PLC0415 - loads the store and the registry

    faults = scaffold.check(parsed.path)
    if session.output.as_json:
        session.output.json({"ok": not faults, "faults": faults})
    else:
        session.output.text("\n".join(clean(fault) for fault in faults) or "nothing is wrong with it")
    return Failure("invalid", "").exit_code if faults else 0
