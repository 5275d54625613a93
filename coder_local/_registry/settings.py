"""Typed settings: one record for each plugin, its values from four places, each of them checked.

The environment (`CODER_LOCAL_<PLUGIN>_<NAME>`) comes before what `settings.set` stored, that before `settings.toml` in
the data directory (one table for each plugin), that before the defaults. A bad value is left out and named; where the
file held a good one before, that one stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from coder_local._store.caller import Caller
from coder_local._store.store import Store
from coder_local._store.tables import strip
from coder_local.api import Conflict, Invalid, NotFound, Settings

from .nearest import did_you_mean
from .registry import Registry
from .signature import Parameter, Signature

S = TypeVar("S", bound=Settings)

FILE = "settings.toml"
PREFIX = "CODER_LOCAL_"
LOOK_EVERY = 1.0
"""Seconds between two looks at whether the file was changed."""

_log = logging.getLogger("coder_local.settings")
_Raw = Mapping[str, Mapping[str, Any]]

WebOrigin = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[^/\s*?#@]+$", max_length=300)]
"""What a browser sends as `Origin`: scheme, host and port, `http://localhost:5173`. Neither `*` nor `null` is one."""


class DaemonSettings(Settings):
    """Settings of the daemon itself, in the table `[daemon]`."""

    origins: list[WebOrigin] = msgspec.field(default_factory=list[WebOrigin])
    """Pages that may call over HTTP besides the daemon's own address: `http://localhost:5173`; no `*` and no `null`."""
    http_connections: Annotated[int, Meta(ge=8, le=100_000)] = 1024
    """Connections over HTTP at a time, WebSockets and event streams among them; others are hung up on."""
    linger: Annotated[float, Meta(ge=0)] | None = None
    """Seconds to stay after the last client has left; null to stay until stopped. `serve --linger` comes before it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that the log takes."""
    keep_daily: Annotated[int, Meta(ge=1, le=366)] = 7
    """Daily snapshots that are kept, of days on which something was written."""
    keep_weekly: Annotated[int, Meta(ge=0, le=520)] = 4
    """Daily snapshots that are kept beyond those, the last one of each week."""
    quarantine_faults: Annotated[int, Meta(ge=0, le=10_000)] = 20
    """So many unexpected exceptions of a third party's plugin within `quarantine_window` set it aside; 0 for never."""
    quarantine_blocks: Annotated[int, Meta(ge=0, le=10_000)] = 5
    """The same for keeping the event loop or the writer from coming round for two seconds or more."""
    quarantine_window: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    """Seconds in which faults and blocks are counted."""
    import_budget_ms: Annotated[float, Meta(gt=0)] = 500.0
    """Milliseconds that the import of a third party's plugin may take; one that takes longer is named."""
    memory_budget_mb: Annotated[float, Meta(gt=0)] = 200.0
    """MiB that the process may grow by at a plugin's import, or while it does nearly all the work."""
    start_watch: Annotated[float, Meta(ge=0, le=600)] = 10.0
    """Seconds after a start in which the end of the daemon is laid to the third parties' plugins that were loaded.
    0, for who kills daemons on purpose: never."""


class Place(StrEnum):
    """Where a value comes from, the strongest first."""

    ENVIRONMENT = "environment"
    STORED = "stored"
    FILE = "file"
    DEFAULT = "default"


class Found(NamedTuple):
    """What one place says of one setting."""

    place: Place
    where: str
    """The variable, the file and table, or the operation."""
    value: Any
    fault: str | None
    """Why the value is not taken, if it is bad."""


class SettingsManager:
    """Answers for the settings of all loaded plugins. Safe to be asked from any thread."""

    def __init__(self, registry: Registry, store: Store, folder: Path | None, environ: Mapping[str, str]) -> None:
        self._registry = registry
        self._store = store
        self._file = None if folder is None else folder / FILE
        self._environ = environ
        self._lock = threading.RLock()
        self._stored: _Raw = {}
        self._written: _Raw = {}
        """What the file says, as it was last read."""
        self._good: dict[tuple[str, str], Any] = {}
        """The last good value of the file for each setting."""
        self._current: dict[type[Settings], Any] = {}
        self._warned: set[str] = set()
        self._stamp: tuple[int, int] | None = None
        self._look_at = float("inf") if folder is None else 0.0
        self.file_fault: str | None = None
        """Why the file as a whole cannot be read, if so."""
        self.listeners: list[Callable[[str, tuple[str, ...]], None]] = []
        """Called with plugin and names after any change, on the thread that noticed it."""
        self.say: Callable[[str, tuple[str, ...]], None] = lambda _plugin, _names: None
        """Called in the same way, but only for changes of the file, which no operation has announced."""

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read what is stored; once, when the store is open."""
        stored: dict[str, dict[str, Any]] = {}
        rows = self._store.read(lambda scope: scope.rows("SELECT plugin, name, value FROM setting"), Caller("daemon"))
        for plugin, name, value in rows:
            stored.setdefault(plugin, {})[name] = msgspec.json.decode(value)
        with self._lock:
            self._stored = stored
            self._current.clear()

    def current(self, settings: type[S], /) -> S:
        """Return the current settings of the plugin that declared this class; its defaults if none did."""
        if time.monotonic() >= self._look_at:
            self.look()
        found: Any = self._current.get(settings)
        if found is None:
            with self._lock:
                found = self._current[settings] = self._make(settings)
        return found  # type: ignore[no-any-return]

    def of(self, plugin: str) -> Settings:
        """Return the current settings of a plugin. Raises `NotFound` if it has none."""
        return self.current(self.type_of(plugin))

    def type_of(self, plugin: str) -> type[Settings]:
        """Return the class of a plugin's settings. Raises `NotFound` if it has none."""
        types = self._registry.settings_types()
        if plugin not in types:
            raise NotFound(
                f"no loaded plugin called {plugin!r} has settings", field="/plugin", hint=_hint(plugin, list(types))
            )
        return types[plugin]

    def plugins(self) -> list[str]:
        """Return the names of the loaded plugins that have settings, sorted."""
        return sorted(self._registry.settings_types())

    def found(self, plugin: str, name: str) -> list[Found]:
        """Return what every place says of a setting, the strongest first and the default last. Raises `NotFound`."""
        settings = self.type_of(plugin)
        _check_name(settings, name)
        if time.monotonic() >= self._look_at:
            self.look()
        with self._lock:
            return [*self._places(plugin, name, _hints(settings)[name]), self._default(settings, name)]

    def used(self, plugin: str, name: str) -> Found:
        """Return the place whose value is used, and that value. Raises `NotFound`."""
        return next(each for each in self.found(plugin, name) if each.fault is None)

    def faults(self) -> list[str]:
        """Return what is wrong with any value of any loaded plugin, and with the file."""
        faults = [f"{FILE}: {self.file_fault}"] if self.file_fault else []
        for plugin in self.plugins():
            names = self.type_of(plugin).__struct_fields__
            faults += [
                f"{each.where}: {each.fault}" for name in names for each in self.found(plugin, name) if each.fault
            ]
            unknown = [name for name in self._written.get(plugin, {}) if name not in names]
            faults += [f"{FILE} [{plugin}] {name}: no such setting; {_hint(name, list(names))}" for name in unknown]
        return faults

    # -- changing -----------------------------------------------------------------------------------------------------

    def check(self, plugin: str, name: str, value: Any) -> Any:
        """Return a value as the setting takes it. Raises `NotFound`, `Invalid`, `Conflict` if the environment rules."""
        settings = self.type_of(plugin)
        _check_name(settings, name)
        variable = variable_of(plugin, name)
        if variable in self._environ:
            raise Conflict(
                f"{plugin}.{name} is set by the environment, which comes first",
                hint=f"unset {variable} and start the daemon again",
                data={"variable": variable},
            )
        try:
            checked = _convert(_hints(settings)[name], value, strict=True)
        except Invalid as error:
            error.hint = error.hint or f"settings.explain of {plugin} {name} says what it takes"
            raise
        try:
            msgspec.structs.replace(self.current(settings), **{name: checked})
        except (ValueError, TypeError) as error:
            raise Invalid(f"{plugin}.{name} cannot be that: {error}", field="/value") from error
        return checked

    def keep(self, plugin: str, name: str, value: Any) -> None:
        """Take over what was committed to the store: a value as plain data, or `msgspec.UNSET` if it was taken away."""
        with self._lock:
            before = self._snapshot()
            own = {key: each for key, each in self._stored.get(plugin, {}).items() if key != name}
            if value is not msgspec.UNSET:
                own[name] = value
            self._stored = {**self._stored, plugin: own}
            changed = self._renew(before)
        self._tell(changed)

    def look(self) -> None:
        """Read the file again if it was changed, and tell who listens."""
        with self._lock:
            self._look_at = time.monotonic() + LOOK_EVERY
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return
            first = self._stamp is None and not self._current
            before = {} if first else self._snapshot()
            self._stamp = stamp
            if not self._read_file():
                return
            changed = self._renew(before)
        for plugin, names in changed.items():
            self.say(plugin, names)
        self._tell(changed)

    def _tell(self, changed: Mapping[str, tuple[str, ...]]) -> None:
        for plugin, names in changed.items():
            _log.info("settings of %s changed: %s", plugin, ", ".join(names))
            for listener in self.listeners:
                listener(plugin, names)

    def _snapshot(self) -> dict[str, Settings]:
        return {
            plugin: self._current.get(settings) or self._make(settings)
            for plugin, settings in self._registry.settings_types().items()
        }

    def _renew(self, before: Mapping[str, Settings]) -> dict[str, tuple[str, ...]]:
        """Make all settings anew and return the names whose values differ, by plugin."""
        changed: dict[str, tuple[str, ...]] = {}
        renewed: dict[type[Settings], Any] = {}
        for plugin, old in before.items():
            new = renewed[type(old)] = self._make(type(old), old)
            names = tuple(name for name in new.__struct_fields__ if getattr(new, name) != getattr(old, name))
            if names:
                changed[plugin] = names
        self._current = renewed
        return changed

    # -- the file -----------------------------------------------------------------------------------------------------

    def _stamp_now(self) -> tuple[int, int]:
        assert self._file is not None  # noqa: S101 - without a folder nobody looks
        try:
            stat = self._file.stat()
        except OSError:
            return 0, 0
        return stat.st_mtime_ns, stat.st_size

    def _read_file(self) -> bool:
        """Read the file; on a fault keep what it said before, and return False."""
        try:
            written = self._parse()
        except (OSError, ValueError) as error:
            self.file_fault = str(error)
            _log.warning("%s cannot be read, its old values stay: %s", FILE, error)
            return False
        self.file_fault = None
        tables: dict[str, Any] = {name: table for name, table in written.items() if isinstance(table, dict)}
        if loose := sorted(written.keys() - tables.keys()):
            self.file_fault = f"{', '.join(loose)} must stand in a table, such as [daemon]"
            _log.warning("%s: %s", FILE, self.file_fault)
        self._written = msgspec.to_builtins(tables)
        self._good = {
            (plugin, name): value
            for (plugin, name), value in self._good.items()
            if name in self._written.get(plugin, {})
        }
        return True

    def _parse(self) -> dict[str, Any]:
        assert self._file is not None  # noqa: S101 - see _stamp_now
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        import tomllib  # noqa: PLC0415 - 4 ms, and most have no file

        return tomllib.loads(text)

    # -- putting together ---------------------------------------------------------------------------------------------

    def _make(self, settings: type[Settings], before: Settings | None = None) -> Any:
        plugin = next((name for name, each in self._registry.settings_types().items() if each is settings), None)
        if plugin is None:
            return settings()
        values: dict[str, Any] = {}
        hints: Mapping[str, Any] | None = None
        for name in settings.__struct_fields__:
            if not self._named(plugin, name):
                continue
            hints = hints or _hints(settings)
            for each in self._places(plugin, name, hints[name]):
                if each.fault is None:
                    values[name] = each.value
                    break
                self._warn(f"{each.where} is refused: {each.fault}")
        try:
            return settings(**values)
        except (ValueError, TypeError) as error:
            self._warn(f"the settings of {plugin} do not go together and are not taken: {error}")
            return settings() if before is None else before

    def _warn(self, text: str) -> None:
        if text not in self._warned:  # settings are made anew at each change, of whichever plugin
            self._warned.add(text)
            _log.warning("%s", text)

    def _named(self, plugin: str, name: str) -> bool:
        return (
            variable_of(plugin, name) in self._environ
            or name in self._stored.get(plugin, {})
            or name in self._written.get(plugin, {})
        )

    def _places(self, plugin: str, name: str, hint: Any) -> list[Found]:
        """Return what is said of a setting, but for its default."""
        found: list[Found] = []
        variable = variable_of(plugin, name)
        if (text := self._environ.get(variable)) is not None:
            found.append(_try(Place.ENVIRONMENT, variable, hint, _from_text(text, hint), strict=False))
        if name in (stored := self._stored.get(plugin, {})):
            found.append(_try(Place.STORED, f"settings.set {plugin}.{name}", hint, stored[name], strict=True))
        if name in (written := self._written.get(plugin, {})):
            found += self._from_file(plugin, name, hint, written[name])
        return found

    def _from_file(self, plugin: str, name: str, hint: Any, value: Any) -> list[Found]:
        found = _try(Place.FILE, f"{FILE} [{plugin}] {name}", hint, value, strict=True)
        if found.fault is None:
            self._good[plugin, name] = found.value
        elif (plugin, name) in self._good:
            kept = Found(Place.FILE, f"{found.where}, as it was before", self._good[plugin, name], None)
            return [found, kept]
        return [found]

    def _default(self, settings: type[Settings], name: str) -> Found:
        return Found(Place.DEFAULT, f"default of {settings.__name__}", getattr(settings(), name), None)


def variable_of(plugin: str, name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{plugin}_{name}".upper()


def _hints(settings: type[Settings]) -> Mapping[str, Any]:
    return get_type_hints(settings, include_extras=True)


def _check_name(settings: type[Settings], name: str) -> None:
    names = settings.__struct_fields__
    if name not in names:
        raise NotFound(f"there is no setting {name!r}", field="/name", hint=_hint(name, list(names)))


def _hint(name: str, names: list[str]) -> str:
    return did_you_mean(name, names, "there is " + (", ".join(sorted(names)) or "none"))


def _convert(hint: Any, value: Any, *, strict: bool) -> Any:
    """Return a value as its type. Raises `Invalid` with `/value` as the field."""
    signature = Signature([Parameter("value", hint)], None, envelope=False, name="settings.value")
    return signature.convert({"value": value}, strict=strict).value


def _try(place: Place, where: str, hint: Any, value: Any, *, strict: bool) -> Found:
    try:
        return Found(place, where, _convert(hint, value, strict=strict), None)
    except Invalid as error:
        return Found(place, where, value, error.message)


def _from_text(text: str, hint: Any) -> Any:
    """Return what a variable says: JSON for lists and objects, a list also with commas, anything else as text."""
    core, _ = strip(hint)
    whole = get_origin(core) or core
    if whole in {str, int, float, bool, Literal} or text == "null":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return [part.strip() for part in text.split(",") if part.strip()] if whole in {list, tuple, set} else text
