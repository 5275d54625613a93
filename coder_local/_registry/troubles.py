"""Counting what plugins do wrong while they run, and telling when one does it too often."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType
from weakref import WeakKeyDictionary

from . import blame
from .plugins import FOREIGN, Plugin
from .settings import DaemonSettings

_log = logging.getLogger("coder_local.plugins")


class Troubles:
    """What the loaded plugins did wrong. Safe to be told from any thread.

    `plugins` returns them, `limits` the settings of the moment.
    """

    def __init__(self, plugins: Callable[[], Iterable[Plugin]], limits: Callable[[], DaemonSettings]) -> None:
        self._plugins = plugins
        self._limits = limits
        self._lock = threading.Lock()
        self._seen: WeakKeyDictionary[Plugin, _Seen] = WeakKeyDictionary()
        self.set_aside: Callable[[Plugin, str], None] = lambda _plugin, _reason: None
        """Called once for each plugin of others that fails too often, with the reason; on the thread that noticed."""

    def fault(self, name: str, error: BaseException, report: str = "") -> str:
        """Count an exception that nobody expected in an operation, a listener or a hook; return the report's id."""
        report = report or uuid.uuid4().hex[:12]
        plugins = list(self._plugins())
        plugin = blame.by_error(plugins, error) or blame.by_name(plugins, name)
        if plugin is not None:
            # Without the exception's text, which may hold what the person wrote: a reason is shown to everybody.
            what = f"{type(error).__name__} in {name}; report {report}, which is in the log"
            self._count(plugin, "faults", what)
        return report

    def blocked(self, name: str, frame: FrameType | None, what: str, seconds: float) -> Plugin | None:
        """Count a blocked loop or writer; return whose code it was, by the stack where it tells, else by the name."""
        plugins = list(self._plugins())
        plugin = blame.by_stack(plugins, frame) or blame.by_name(plugins, name)
        if plugin is not None:
            self.lasted(plugin, seconds)
            self._count(plugin, "blocked", f"{what} for {seconds:.1f} s by {name or plugin.name}")
        return plugin

    def lasted(self, plugin: Plugin, seconds: float) -> None:
        """Note how long a block was that has been counted."""
        plugin.costs.blocked_worst_ms = max(plugin.costs.blocked_worst_ms, seconds * 1000)

    def too_often(self, plugin: Plugin) -> str:
        """Return why a plugin would be set aside if it could be; empty if it behaves."""
        seen = self._seen.get(plugin)
        return "" if seen is None else seen.reason

    def _count(self, plugin: Plugin, kind: str, last: str) -> None:
        limits, now = self._limits(), time.monotonic()
        limit = limits.quarantine_faults if kind == "faults" else limits.quarantine_blocks
        window = limits.quarantine_window
        with self._lock:
            setattr(plugin.costs, kind, getattr(plugin.costs, kind) + 1)
            seen = self._seen.get(plugin)
            if seen is None:
                seen = self._seen[plugin] = _Seen()
            times = seen.times.setdefault(kind, deque())
            times.append(now)
            while times[0] < now - window or len(times) > 10_000:
                times.popleft()
            if seen.reason or not limit or len(times) < limit:
                return
            did = "failed" if kind == "faults" else "kept the daemon waiting"
            seen.reason = f"it {did} {len(times)} times in {window:g} s; the last: {last}"
        _log.error("plugin %s: %s", plugin.name, seen.reason, extra={"plugin": plugin.name})
        if plugin.source in FOREIGN:
            self.set_aside(plugin, seen.reason)


class _Seen:
    """What one content of a plugin did lately."""

    def __init__(self) -> None:
        self.times: dict[str, deque[float]] = {}
        self.reason = ""
