"""`plugins dev`: run a plugin from the folder it is written in, and exchange it at each save."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from coder_ipc.errors import ConnectionLost, IpcError, NotRunning

from . import phrases
from . import session as sessions
from .errors import Failure, invalid
from .parser import Parser, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .session import Session

SUMMARY = "run a plugin from the folder it is written in, and reload it at each save"
LINK = ".link"
"""Ending of a file in the folder `plugins` of the data directory that holds the path of a plugin elsewhere."""
_QUIET_MS = 100
"""Milliseconds without another change after which a save counts as done: an editor writes in several steps."""
_LONGEST_MS = 1500
_WAKE_MS = 500


def run(session: Session, arguments: Sequence[str]) -> int:
    """Watch a folder until Ctrl-C."""
    parser = Parser("coder-local plugins dev", f"{SUMMARY.capitalize()}. Until Ctrl-C; what was loaded last stays.")
    parser.add_argument("path", type=Path, metavar="FOLDER", help="the plugin's package, or the project around it")
    parser.add_settings()
    parsed = parser.read(arguments)
    session.apply(settings(parsed))
    folder = package_in(parsed.path.expanduser().absolute())
    _refuse_other(session, folder)
    question = f"{folder} may do whatever you may, and runs now and after each change of a file in it."
    if not (session.settings.yes or sessions.ask(question)):
        raise Failure("needs_confirmation", "nobody agreed to run it", hint="give --yes to confirm")
    _link(session, folder)
    session.output.note(f"watching {folder}; end with Ctrl-C")
    try:
        for _ in _saves(folder):
            _reload(session, folder.name)
    except KeyboardInterrupt:
        session.output.note(f"{folder.name} stays as it was loaded last; coder-local plugins disable {folder.name}")
    return 0


def package_in(given: Path) -> Path:
    """Return the plugin's package: a folder, or the one in it. Raises `Failure` if it is none."""
    if not given.is_dir():
        raise Failure("not_found", f"there is no folder {given}", field="/path")
    inner = [given, given / given.name, *sorted(given.iterdir())]
    package = next((folder for folder in inner if (folder / "__init__.py").is_file()), None)
    if package is None:
        raise invalid(f"{given} is no plugin: it has no __init__.py", field="/path", hint="see docs/plugin-authors.md")
    if not package.name.isidentifier():
        raise invalid(f"{package.name!r} is no name for a plugin", field="/path", hint="small letters, digits and _")
    return package.resolve()


def _refuse_other(session: Session, folder: Path) -> None:
    """Raise `Failure` if a plugin of that name runs from elsewhere: two cannot have one name."""
    for plugin in session.client.call("plugins.list")["items"]:
        if plugin["name"] == folder.name and plugin["status"] == "loaded" and plugin["location"] != str(folder):
            raise Failure(
                "conflict",
                f"a plugin called {folder.name} runs from {plugin['location']}",
                field="/path",
                hint=f"coder-local plugins disable {folder.name}, or rename the folder",
            )


def _link(session: Session, folder: Path) -> None:
    """Let the daemon find the folder, unless it stands where plugins are looked for anyway."""
    place = session.settings.data_dir / "plugins"
    if folder.parent == place.resolve():
        return
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        (place / f"{folder.name}{LINK}").write_text(f"{folder}\n", encoding="utf-8")
    except OSError as fault:
        raise Failure("refused", f"the plugin cannot be linked: {fault}", hint="look at the permissions") from fault


def _saves(folder: Path) -> Iterator[None]:
    """Yield once when the folder is being watched, and then after each change that has come to rest."""
    from watchfiles import watch  # noqa: PLC0415 - 40 ms, and a compiled library

    first = True
    changes = watch(
        folder, debounce=_LONGEST_MS, step=_QUIET_MS, rust_timeout=_WAKE_MS, yield_on_timeout=True, raise_interrupt=True
    )
    for found in changes:  # what is saved while the plugin is loaded is in the next ones
        if first or found:
            first = False
            yield


def _reload(session: Session, name: str) -> None:
    """Have the plugin exchanged, and say what came of it; whatever fails, the next save is another chance."""
    try:
        try:
            found = session.call("plugins.reload", {"name": name}, yes=True)
        except (ConnectionLost, NotRunning):  # the daemon was stopped or killed meanwhile, perhaps by the plugin
            session.output.note("the daemon is gone; it is started again")
            session.close()
            found = session.call("plugins.reload", {"name": name}, yes=True)
    except IpcError as error:
        session.output.error(error)
        return
    if session.output.as_json:
        session.output.item(found)
    else:
        session.output.text(f"{time.strftime('%H:%M:%S')} {phrases.reloaded(found)}")
        sys.stdout.flush()
