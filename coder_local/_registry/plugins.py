"""Plugins as the registry knows them, and finding and importing them one by one.

A plugin that raises at import stops itself and nothing else (pluggy's bulk loading dies of the first bad one).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import ModuleType

from coder_ipc import program
from coder_local.api import DeclarationError, Domain

_log = logging.getLogger("coder_local.plugins")
BUNDLED = "coder_plugins"
ENTRY_POINTS = "coder_local.plugins"
_NO_PACKAGES = (
    "this build has Python's own modules and what coder-local requires: put other packages into the plugin's folder"
)


class Source(StrEnum):
    """Where a plugin comes from."""

    CORE = "core"
    BUNDLED = "bundled"
    ENTRY_POINT = "entry_point"
    FOLDER = "folder"


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
        self.import_ms = 0.0
        self.start_ms = 0.0
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
        file = None if self.module is None else self.module.__file__
        return None if file is None else Path(file).parent

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
        self.status, self.reason = status, reason

    def load(self) -> Domain | None:
        """Import it and return its domain; None, with status and reason set, if it cannot be."""
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
        return self.domain

    def _import(self) -> ModuleType:
        if self.source is not Source.FOLDER:
            return importlib.import_module(self.location)
        name = f"coder_local_plugin_{self.name}"
        folder = Path(self.location)
        _forget(name)
        _remove_bytecode(folder)
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
            _forget(name)
            raise
        return module


def _forget(name: str) -> None:
    """Take a plugin's modules away, or its submodules of an earlier content would be imported again."""
    for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[loaded]


def _remove_bytecode(folder: Path) -> None:
    """Remove compiled files: they are not part of the hash, and one made by hand would run in place of its source."""
    import shutil  # noqa: PLC0415 - 2 ms, and only for a plugin of others

    for cache in list(folder.rglob("__pycache__")):
        try:
            cache.unlink() if cache.is_symlink() else shutil.rmtree(cache)
        except OSError as error:
            raise DeclarationError(f"{cache} cannot be removed: {error}; remove it, then enable the plugin") from error


def _place(error: BaseException) -> str:
    """Return where an error came from, for the author who has only the reason to read."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
    if isinstance(error, ModuleNotFoundError) and program.is_frozen():
        place += f"; {_NO_PACKAGES}"
    return place


def bundled() -> Iterator[Plugin]:
    """Yield the plugins that come with the daemon. The frozen build lists them by the same walk."""
    package = importlib.import_module(BUNDLED)
    for found in pkgutil.iter_modules(package.__path__):
        yield Plugin(found.name, Source.BUNDLED, f"{BUNDLED}.{found.name}")


def in_folder(folder: Path) -> Iterator[Plugin]:
    """Yield the plugins of the data directory's plugin folder, without importing anything."""
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            if (each / "__init__.py").is_file() and each.name.isidentifier():
                yield Plugin(each.name, Source.FOLDER, str(each))


def installed() -> Iterator[Plugin]:
    """Yield the plugins that other distributions announce by entry point, without importing them."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 8 ms, and only when plugins are listed

    for entry in entry_points(group=ENTRY_POINTS):
        # Not `entry.module`, which fails on a value that is no module: one bad distribution would hide all plugins.
        yield Plugin(entry.name, Source.ENTRY_POINT, entry.value.partition(":")[0].partition("[")[0].strip())


def content_hash(plugin: Plugin) -> str:
    """Return the hash of all source files of a plugin: what the person enables is this content and no other."""
    folder, files = _files_of(plugin)
    import hashlib  # noqa: PLC0415 - 2 ms, and only for a plugin of others

    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()


def _files_of(plugin: Plugin) -> tuple[Path, list[Path]]:
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
