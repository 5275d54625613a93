"""Plugins as the registry knows them, and finding and importing them one by one.

A plugin that raises at import stops itself and nothing else (pluggy's bulk loading dies of the first bad one).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import pkgutil
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from coder_ipc import program
from coder_local._isolation.manifest import WITHOUT, Manifest
from coder_local._store.migrations import find_files
from coder_local.api import DeclarationError, Domain

from . import memory, modules

if TYPE_CHECKING:
    from .isolated import Apart

_log = logging.getLogger("coder_local.plugins")
BUNDLED = "coder_plugins"
ENTRY_POINTS = "coder_local.plugins"
LINK = ".link"
_LONGEST_PATH = 32 * 1024
_NO_PACKAGES = (
    "this build has Python's own modules and what coder-local requires: put other packages into the plugin's folder"
)


class Source(StrEnum):
    """Where a plugin comes from."""

    CORE = "core"
    BUNDLED = "bundled"
    ENTRY_POINT = "entry_point"
    FOLDER = "folder"


FOREIGN = frozenset({Source.FOLDER, Source.ENTRY_POINT})
"""Sources of code that runs only after the person enabled it."""


class Status(StrEnum):
    """What has become of a plugin."""

    LOADING = "loading"
    LOADED = "loaded"
    DISABLED = "disabled"
    NEEDS_ENABLING = "needs_enabling"
    STOPPED_BY_IMPORT_ERROR = "stopped_by_import_error"
    STOPPED_BY_DECLARATION = "stopped_by_declaration"
    STOPPED_BY_MIGRATION = "stopped_by_migration"
    STOPPED_BY_NEWER_DATA = "stopped_by_newer_data"
    STOPPED_BY_START_ERROR = "stopped_by_start_error"
    QUARANTINED = "quarantined"
    """It failed again and again, and was set aside until the person enables it."""
    LEFT_OUT = "left_out"
    """It is not loaded in this start: in safe mode, or while the plugin is looked for that ended the last starts."""


class Costs:
    """What a plugin cost since its content was loaded."""

    def __init__(self) -> None:
        self.faults = 0
        """Calls, events and hooks that ended in an exception which nobody expected."""
        self.blocked = 0
        """How often it kept the event loop or the writer from coming round."""
        self.blocked_worst_ms = 0.0
        self.memory_import_kb: int | None = None
        """By how much the process grew while it was imported, by other threads too; None where nobody looked."""


class Plugin:
    """One plugin: where it is, what has become of it, and what it cost."""

    def __init__(self, name: str, source: Source, location: str) -> None:
        self.name = name
        self.source = source
        self.location = location
        """Module name, or the folder of a plugin that is not installed."""
        self.status = Status.DISABLED
        self.reason = ""
        self.domain: Domain | None = None
        self.module: ModuleType | None = None
        self.content = ""
        """Hash of the content that was loaded, of a plugin that had to be enabled."""
        self.manifest: Manifest = WITHOUT
        """What its manifest says, once it was read."""
        self.process: Apart | None = None
        """Its process, of one that does not run in the daemon."""
        self.place: Path | None = None
        """Where its files are, of one that is imported in a process of its own."""
        self._migrations: tuple[Path, ...] | None = None
        self.edition = 0
        """How often its content was exchanged for another since the daemon started."""
        self.import_ms = 0.0
        self.start_ms = 0.0
        self.costs = Costs()
        self.import_since: float | None = None
        """When its import began, monotonic, while it is imported."""
        self.start_since: float | None = None
        """When its start began, monotonic, while it starts."""

    @property
    def loaded(self) -> bool:
        """Whether its operations answer."""
        return self.status is Status.LOADED

    @property
    def folder(self) -> Path | None:
        """Where its files are, once imported."""
        if self.place is not None:
            return self.place
        file = None if self.module is None else self.module.__file__
        return None if file is None else Path(file).parent

    @property
    def migrations(self) -> tuple[Path, ...]:
        """Its migration files as they were when they were first asked for: its folder may hold a newer content's."""
        if self._migrations is None and self.folder is not None:
            self._migrations = find_files(self.folder / "migrations")
        return self._migrations or ()

    @property
    def root(self) -> str:
        """Name of the module that all of its modules are below; of an installed one, of its top package.

        Each edition of a folder has a root of its own, so that old and new code run side by side for a while.
        """
        if self.source is Source.FOLDER:  # no plugin's name begins with a digit, so this is never another one's
            return f"coder_local_plugin_{f'{self.edition}_' if self.edition else ''}{self.name}"
        return self.location.partition(".")[0] if self.source is Source.ENTRY_POINT else self.location

    @property
    def at_work(self) -> str:
        """What it does that is not done yet, and for how long it has; empty when nothing is."""
        since, start = self.import_since, self.start_since  # read once: they are asked for on other threads too
        if start is not None:
            return f"it has been starting for {time.monotonic() - start:.1f} s"
        if self.status is not Status.LOADING:
            return ""
        if since is None:
            return "it waits for its turn"
        return f"it has been importing for {time.monotonic() - since:.1f} s"

    def stop(self, status: Status, reason: str) -> None:
        """Mark it as stopped, with the reason a person reads."""
        self.reason = reason  # first: who reads the status on another thread, then finds its reason
        self.status = status
        if self.process is not None:
            self.process.stop()

    def load(self, *, anew: bool = False) -> Domain | None:
        """Import it and return its domain; None, with status and reason set, if it cannot be.

        With `anew` it is imported although its modules are loaded; if it cannot be, those stay as they are.
        """
        before = modules.take(self.root) if anew else {}
        grown = memory.resident() if self.source in FOREIGN else None
        begun = time.perf_counter()
        try:
            self.module = self._import()
            domain = getattr(self.module, "domain", None)
            if not isinstance(domain, Domain):
                raise DeclarationError(f"{self.location} exports no `domain`; import it from its records module")
            self.domain = domain
        except DeclarationError as error:
            self.stop(Status.STOPPED_BY_DECLARATION, str(error))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # the person's; on any other thread only the plugin itself can have raised it
            self.stop(Status.STOPPED_BY_IMPORT_ERROR, f"{type(error).__name__}: {error}{_place(error)}")
            _log.error("plugin %s cannot be imported", self.name, exc_info=error, extra={"plugin": self.name})
        self.import_ms = (time.perf_counter() - begun) * 1000
        if grown is not None and (now := memory.resident()) is not None:
            self.costs.memory_import_kb = max(now - grown, 0) // 1024
        if before and self.domain is None:
            modules.put_back(self.root, before)
        return self.domain

    def _import(self) -> ModuleType:
        if self.source is not Source.FOLDER:
            return importlib.import_module(self.location)
        name, folder = self.root, Path(self.location)
        modules.take(name)  # or its submodules of an earlier content would be imported again
        modules.remove_bytecode(folder)
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise DeclarationError(f"{folder} has no __init__.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs, or its own relative imports fail
        try:
            spec.loader.exec_module(module)
        except BaseException:
            modules.take(name)
            raise
        return module


def _place(error: BaseException) -> str:
    """Return where an error came from, for the author who has only the reason to read."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen "):  # of a syntax error the innermost frames are the import system's
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    if isinstance(error, ModuleNotFoundError) and program.is_frozen():
        return f"{place}; {_NO_PACKAGES}"
    return "" if isinstance(error, SyntaxError) else place  # it names its own place


def bundled() -> Iterator[Plugin]:
    """Yield the plugins that come with the daemon. The frozen build lists them by the same walk."""
    package = importlib.import_module(BUNDLED)
    for found in pkgutil.iter_modules(package.__path__):
        yield Plugin(found.name, Source.BUNDLED, f"{BUNDLED}.{found.name}")


def in_folder(folder: Path) -> Iterator[Plugin]:
    """Yield the plugins of the data directory's plugin folder, without importing anything.

    A file `NAME.link` there holds the path of a plugin that stands elsewhere; a link of the file system would need a
    privilege on Windows.
    """
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            name, place = (each.stem, _linked(each)) if each.suffix == LINK else (each.name, each)
            if place is not None and name.isidentifier() and (place / "__init__.py").is_file():
                yield Plugin(name, Source.FOLDER, str(place))


def _linked(file: Path) -> Path | None:
    """Return the folder that a file names; None if it cannot be read, or names none."""
    try:
        if not file.is_file():  # to open a pipe would wait for ever
            return None
        with file.open(encoding="utf-8") as opened:
            path = Path(opened.read(_LONGEST_PATH).strip())
    except (OSError, ValueError):
        return None
    return path if path.is_absolute() else None


def installed() -> Iterator[Plugin]:
    """Yield the plugins that other distributions announce by entry point, without importing them."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 8 ms, and only when plugins are listed

    for entry in entry_points(group=ENTRY_POINTS):
        # Not `entry.module`, which fails on a value that is no module: one bad distribution would hide all plugins.
        yield Plugin(entry.name, Source.ENTRY_POINT, entry.value.partition(":")[0].partition("[")[0].strip())


def content_hash(plugin: Plugin) -> str:
    """Return the hash of all source files of a plugin: what the person enables is this content and no other."""
    folder, files = content_files(plugin)
    import hashlib  # noqa: PLC0415 - 2 ms, and only for a plugin of others

    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        body = path.read_bytes()
        # A name on disk need not be UTF-8, and one such file must not keep all other plugins from being listed.
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + f"\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def package_folder(plugin: Plugin) -> Path | None:
    """Return the folder of a third party's package, which its manifest stands in, without importing it.

    None for an installed module that is one file and has no folder. Raises `DeclarationError` if it cannot be found.
    """
    folder, files = content_files(plugin)
    if plugin.source is Source.FOLDER:
        return folder
    if files == [folder / f"{plugin.location}.py"]:
        return None
    inner = folder.joinpath(*plugin.location.split(".")[1:])
    return inner if inner.is_dir() else inner.parent


def content_files(plugin: Plugin) -> tuple[Path, list[Path]]:
    """Return the folder of a third party's plugin, and all files that are its content.

    Raises `DeclarationError` if they cannot be found, or may change unseen.
    """
    if plugin.source is Source.FOLDER:
        folder = Path(plugin.location)
    elif program.is_frozen():
        raise DeclarationError(
            f"{plugin.location} is of another Python's packages, and this build uses none: put the plugin's own folder"
            " into `plugins` of the data directory"
        )
    else:
        try:
            spec = importlib.util.find_spec(plugin.location.split(".", 1)[0])  # the top package only: no code runs
        except ValueError as error:
            raise DeclarationError(f"{plugin.location!r} is no module: {error}") from error
        if spec is None or spec.origin is None:
            raise DeclarationError(f"{plugin.location} cannot be found; is it installed?")
        folder = Path(spec.origin).parent
        if spec.submodule_search_locations is None:
            return folder, [Path(spec.origin)]
    files: list[Path] = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if "__pycache__" in inside:
            continue
        if path.is_symlink() and path.is_dir():
            raise DeclarationError(f"{path} is a link to a folder, which may change unseen; copy it instead")
        if path.is_file():
            files.append(path)
    if not files:
        raise DeclarationError(f"there are no files in {folder}")
    return folder, files
