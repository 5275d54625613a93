"""Commands that plugins bring: a package `cli` in a plugin's folder names them, and is read without the plugin.

The package is loaded by its place and not by its name, because importing `coder_plugins.notes.cli` would import all of
`coder_plugins.notes` first, which takes as long as a start of the daemon.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from .errors import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from .app import Command
    from .session import Session

BUNDLED = "coder_plugins"
FOLDER = "cli"
NAMES = "COMMANDS"


class Shipped(NamedTuple):
    """One command, as the package `cli` of a plugin names it: `COMMANDS = {"notes print": Shipped(...)}`."""

    summary: str
    module: str
    """Name of a module beside it, whose own `COMMANDS` has the `Command` by the same words."""


class Found(NamedTuple):
    """A command with the words that lead to it."""

    words: tuple[str, ...]
    summary: str
    module: str
    """Full name of its module."""

    def load(self) -> Command:
        """Import the command."""
        commands: dict[str, Command] = getattr(importlib.import_module(self.module), NAMES)
        return commands[" ".join(self.words)]


def bundled() -> list[Found]:
    """Return the commands of the plugins that come with this program, importing nothing but their names."""
    spec = importlib.util.find_spec(BUNDLED)
    roots = [] if spec is None else list(spec.submodule_search_locations or ())
    found: list[Found] = []
    for root in roots:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
        for name in folders:
            found += of_folder(f"{BUNDLED}.{name}", os.path.join(root, name))  # noqa: PTH118 - pathlib is not needed yet
    return found


def of_folder(package: str, folder: str) -> list[Found]:
    """Return the commands in the folder of a plugin that is imported as `package`."""
    module = _load(f"{package}.{FOLDER}", os.path.join(folder, FOLDER))  # noqa: PTH118 - see above
    if module is None:
        return []
    commands: dict[str, Shipped] = getattr(module, NAMES)
    return [
        Found(tuple(words.split()), each.summary, f"{module.__name__}.{each.module}")
        for words, each in commands.items()
    ]


def _load(name: str, folder: str) -> ModuleType | None:
    """Return a package by its place; None where there is none. Its parent is not imported."""
    if (known := sys.modules.get(name)) is not None:
        return known
    path = os.path.join(folder, "__init__.py")  # noqa: PTH118 - see above
    if not os.path.isfile(path):  # noqa: PTH113 - see above
        return None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, or the imports inside it import its parent after all
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def longest(commands: Iterable[Found], words: Sequence[str]) -> Found | None:
    """Return the command that the most of the leading words spell."""
    spelt = [each for each in commands if tuple(words[: len(each.words)]) == each.words]
    return max(spelt, key=lambda each: len(each.words), default=None)


def summaries(commands: Iterable[Found]) -> dict[str, str]:
    """Return the first words of commands, each with what it does, or with the words that may follow."""
    rows: dict[str, list[Found]] = {}
    for each in commands:
        rows.setdefault(each.words[0], []).append(each)
    return {word: _summary(found) for word, found in rows.items()}


def _summary(commands: list[Found]) -> str:
    own = next((each for each in commands if len(each.words) == 1), None)
    return ", ".join(each.words[1] for each in commands) if own is None else own.summary


def of_plugin(session: Session, word: str) -> list[Found]:
    """Return the commands that begin with a word and are of a plugin from a folder that runs now.

    Its code has been confirmed by a person, or it would not run: so not where its files are others by now, nor where
    what was confirmed is a process of its own, which this is not.
    """
    from . import stopped  # noqa: PLC0415 - only for a word that nothing else knows

    for plugin in stopped.known(session.client):
        if plugin.get("source") != "folder" or plugin.get("status") != "loaded":
            continue
        if plugin.get("changed") or plugin.get("isolation") != "in_process":
            continue
        commands = of_folder(f"coder_local_plugin_{plugin['name']}", str(plugin["location"]))
        if found := [each for each in commands if each.words[0] == word]:
            return found
    return []


def group(words: Sequence[str], commands: list[Found], *, asks_help: bool) -> str:
    """Return the help of the commands that begin with a word. Raises `Failure` for a second word that none has."""
    from .group import columns  # noqa: PLC0415 - for a help or a mistake only
    from .parser import did_you_mean  # noqa: PLC0415 - see above

    place = f"coder-local {words[0]}"
    rows = {" ".join(each.words[1:]): each.summary for each in commands}
    if len(words) > 1 and not asks_help:
        hint = did_you_mean(words[1], rows) or f"see {place} --help"
        raise Failure("not_found", f"{place} has no command {words[1]!r}", hint=hint)
    return f"usage: {place} COMMAND ...\n\ncommands:\n{columns(rows)}\n\nMore: {place} COMMAND --help"
