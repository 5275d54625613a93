"""Looking after the plugins of others while the daemon runs: how starts end, and whether the process grows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coder_local._registry import memory
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import FOREIGN, Plugin, Status
from coder_local._registry.settings import DaemonSettings

from .core.taking import in_background, say_what_became

if TYPE_CHECKING:
    from coder_local._registry.growth import Growth

    from .starts import Starts

FILE = "starts.json"
"""The record of the last starts, in the data directory."""
_SAMPLE_EVERY = 60.0


class PluginCare:
    """What a daemon keeps for its plugins of others; while there are none it costs nothing."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self._kernel = kernel
        self._folder = folder
        self._starts: Starts | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        kernel.working = self._at_work
        kernel.decided = self._decided

    def watch_start(self, plugins: Sequence[Plugin]) -> Starts | None:
        """Return the record of starts, if this one is to be watched. In safe mode it rests, and keeps what it knows."""
        if self._kernel.safe or not self._watches or not (plugins or (self._folder / FILE).exists()):
            return None
        return self._record()

    @property
    def _watches(self) -> bool:
        return self._kernel.settings.current(DaemonSettings).start_watch > 0

    def _record(self) -> Starts:
        from .starts import Starts  # noqa: PLC0415 - most starts have no plugins of others

        if self._starts is None:
            self._starts = Starts(self._folder / FILE, self._folder / "logs")
        return self._starts

    def _at_work(self, plugin: Plugin, doing: str) -> None:
        if plugin.source in FOREIGN and self._watches:
            self._record().at_work(plugin, doing)

    def _decided(self, name: str) -> None:
        if self._kernel.growth is None:
            self._measure()  # what the first one takes before the next minute begins is growth too
        if self._starts is not None or (self._folder / FILE).exists():
            self._record().acquit(name)

    async def settle(self) -> None:
        """Say what became of the plugins, which all have begun, and count the start as clean if nothing happens now."""
        await say_what_became(self._kernel)
        wait = self._kernel.settings.current(DaemonSettings).start_watch
        self._timers["clean"] = asyncio.get_running_loop().call_later(wait, self._clean)
        self._sample()

    def stop(self) -> None:
        """End: the daemon was asked to stop, which is nobody's fault."""
        for timer in self._timers.values():
            timer.cancel()
        if self._starts is not None:
            self._starts.leave()

    def _clean(self) -> None:
        if self._starts is None:
            return
        self._starts.clean()
        for name, reason in (self._starts.held | self._starts.guilty).items():  # found by what remained
            plugin = self._kernel.registry.plugins.get(name)
            if plugin is not None and plugin.status is Status.LEFT_OUT:
                plugin.stop(Status.QUARANTINED, reason)
                in_background(say_what_became(self._kernel))

    def _sample(self) -> None:
        """Look how much memory there is, and who was called, once a minute while there are plugins of others."""
        plugins = list(self._kernel.registry.plugins.values())
        if any(plugin.loaded and plugin.source in FOREIGN for plugin in plugins):
            self._measure()
        self._timers["sample"] = asyncio.get_running_loop().call_later(_SAMPLE_EVERY, self._sample)

    def _measure(self) -> None:
        resident = memory.resident()
        if resident is not None:
            self._growth().sample(resident, self._kernel.registry.calls())

    def _growth(self) -> Growth:
        from coder_local._registry.growth import Growth  # noqa: PLC0415 - see above

        if self._kernel.growth is None:
            self._kernel.growth = Growth()
        return self._kernel.growth
