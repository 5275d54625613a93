"""Looking after the plugins of others while the daemon runs: how starts end, and whether the process grows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from coder_local._registry import memory
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import FOREIGN, Status
from coder_local._registry.settings import DaemonSettings

from .starts import Starts

_SAMPLE_EVERY = 60.0


class PluginCare:
    """What a daemon keeps for its plugins of others. In safe mode there are none, and the record of starts rests."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self.starts = None if kernel.safe else Starts(folder)
        self._kernel = kernel
        self._timers: dict[str, asyncio.TimerHandle] = {}
        if self.starts is not None:
            kernel.working = self.starts.at_work
            kernel.decided = self.starts.acquit

    def settle(self) -> None:
        """Count the start as clean when nothing happens for a while; all plugins have begun."""
        wait = self._kernel.settings.current(DaemonSettings).start_watch
        self._timers["clean"] = asyncio.get_running_loop().call_later(wait, self._clean)
        self._sample()

    def stop(self) -> None:
        """End: the daemon was asked to stop, which is nobody's fault."""
        for timer in self._timers.values():
            timer.cancel()
        if self.starts is not None:
            self.starts.leave()

    def _clean(self) -> None:
        if self.starts is None:
            return
        self.starts.clean()
        for name, reason in (self.starts.held | self.starts.guilty).items():  # found by what remained
            plugin = self._kernel.registry.plugins.get(name)
            if plugin is not None and plugin.status is Status.LEFT_OUT:
                plugin.stop(Status.QUARANTINED, reason)

    def _sample(self) -> None:
        """Look how much memory there is, and who was called, once a minute while there are plugins of others."""
        plugins = list(self._kernel.registry.plugins.values())
        if any(plugin.loaded and plugin.source in FOREIGN for plugin in plugins):
            resident = memory.resident()
            if resident is not None:
                self._kernel.growth.sample(resident, self._kernel.registry.calls())
        self._timers["sample"] = asyncio.get_running_loop().call_later(_SAMPLE_EVERY, self._sample)
