"""`plugins`: the daemon's operations on plugins, and three commands for who writes one."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import group, phrases
from .errors import Failure, invalid
from .parser import Parser, settings
from .tables import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .session import Session

_OWN = {
    "new": "write a working plugin, with a test, into a new folder",
    "dev": "run a plugin from the folder it is written in, and reload it at each save",
    "check": "look a plugin's folder over, and say what is wrong with it",
}


def run(session: Session, rest: list[str], before: Sequence[str]) -> int:
    """Run the command of the group `plugins` that the words spell."""
    word = rest[0] if rest else ""
    if word == "new":
        return _new(session, [*before, *rest[1:]])
    if word == "check":
        return _check(session, [*before, *rest[1:]])
    if word == "dev":
        from . import develop  # noqa: PLC0415 - each command loads what it needs

        return develop.run(session, [*before, *rest[1:]])
    named = next((argument for argument in rest[1:] if not argument.startswith("-")), "")
    if word in {"enable", "reload"} and _is_path(named):
        raise _not_put(session, Path(named).expanduser().absolute())
    if word in {"enable", "reload"} and not {"-h", "--help", "--json"} & {*before, *rest}:
        rest = [*rest, *_told(session, rest[1:])]
    return group.run(session, ["plugins", *rest], before=before, extra=_OWN)


def _told(session: Session, words: Sequence[str]) -> list[str]:
    """Say where a plugin of others would run, and what it may do there; return the option that grants exactly that."""
    plugins = session.client.call("plugins.list")["items"]
    found = next((each for each in plugins if each["name"] in words), None)
    if found is None or found["source"] not in {"folder", "entry_point"}:
        return []
    session.output.note(phrases.granted(found))
    given = any(word.partition("=")[0] == "--content-hash" for word in words)
    return [] if given or not found["content_hash"] else ["--content-hash", found["content_hash"]]


def _is_path(name: str) -> bool:
    return any(sign in name for sign in ("/", "\\", os.sep)) or name.startswith((".", "~"))


def _not_put(session: Session, given: Path) -> Failure:
    """Return the failure of enabling a folder, with the commands that put it where plugins are looked for."""
    if not given.is_dir():
        return Failure("not_found", f"there is no folder {given}", field="/name", hint="see coder-local plugins list")
    inner = [given, given / given.name, *sorted(given.iterdir())]
    package = next((folder for folder in inner if (folder / "__init__.py").is_file()), None)
    if package is None:
        return invalid(f"{given} is no plugin: it has no __init__.py", field="/name", hint="see docs/plugin-authors.md")
    target = session.settings.data_dir / "plugins" / package.name
    enable = f"coder-local plugins enable {package.name}"
    if package == target:
        return invalid("a plugin is enabled by its name, not by its path", field="/name", hint=enable)
    copy = f'xcopy /E /I "{package}" "{target}"'
    if sys.platform != "win32":
        parent, source, place = (shlex.quote(str(path)) for path in (target.parent, package, target))
        copy = f"mkdir -p {parent} && cp -r {source} {place}"
    return invalid(f"{given} is not where plugins are looked for", field="/name", hint=f"{copy} && {enable}")


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
