"""The record of the last starts, `starts.json` in the data directory: who was at work when one was cut off."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec

from coder_local._registry.plugins import FOREIGN, Plugin, Source

from . import suspicion
from .suspicion import Record, Start

FILE = "starts.json"
FAULTS = "fault.txt"
"""File in `logs` that the stacks of all threads are written to when the process dies of a fault in C."""
_LIMIT = 1024 * 1024

_log = logging.getLogger("coder_local.plugins")


class Starts:
    """Watches one start. Everything is called on the loop; a file that cannot be written watches nothing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._faults = folder / "logs" / FAULTS
        self._record = Record()
        self._output: IO[bytes] | None = None
        self._passing = False
        """Whether what is watched is no start, but a plugin that was enabled while the daemon runs."""

    def begin(self, plugins: Iterable[Plugin]) -> dict[str, str]:
        """Begin to watch a start with some plugins of others; return which to leave out, each with the reason."""
        third = list(plugins)
        if not third and not self._path.exists():
            return {}
        self._record = self._read()
        if self._record.open is not None:
            self._name_by_fault(self._record.open, third)
        out = suspicion.begin(self._record, [plugin.name for plugin in third])
        self._write(firmly=True)
        self._listen()
        return out

    def at_work(self, plugin: Plugin, doing: str) -> None:
        """Note that a plugin's code is imported or started, or with nothing that this is done."""
        if plugin.source not in FOREIGN:
            return
        record = self._record
        if record.open is None:
            if not doing:
                return
            record.open, self._passing = Start([plugin.name], plugin.name, doing), True
        elif self._passing and not doing:
            record.open, self._passing = None, False
        else:
            if plugin.name not in record.open.loading:
                record.open.loading.append(plugin.name)
            record.open.at_work, record.open.doing = (plugin.name, doing) if doing else ("", "")
        self._write()

    @property
    def held(self) -> dict[str, str]:
        """The plugins that are to be tried again later, each with the reason."""
        return {name: held.reason for name, held in self._record.held.items()}

    @property
    def guilty(self) -> dict[str, str]:
        """The plugins that are to be set aside for good, each with the reason."""
        return dict(self._record.guilty)

    def acquit(self, name: str) -> None:
        """Forget what is held against a plugin: that is written elsewhere, or the person decided on it."""
        suspicion.acquit(self._record, name)
        self._write()

    def clean(self) -> None:
        """Note that nothing happened for long enough."""
        if self._record.open is not None:
            suspicion.clean(self._record)
            self._write(firmly=True)

    def leave(self) -> None:
        """Note that the daemon was asked to stop."""
        if self._record.open is not None:
            suspicion.leave(self._record)
            self._write(firmly=True)

    def _read(self) -> Record:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_LIMIT), type=Record)
        except FileNotFoundError:
            return Record()
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s cannot be read and is begun anew: %s", self._path, error)
            return Record()

    def _write(self, *, firmly: bool = False) -> None:
        """Write the record in one step; `firmly` over a power cut too, which who is at work need not be."""
        part = self._path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.write(msgspec.json.encode(self._record))
                if firmly:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)

    # -- faults in C ---------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Have the stacks written when the process dies of a fault in C: they name whose code it was."""
        with contextlib.suppress(OSError):
            self._faults.parent.mkdir(mode=0o700, exist_ok=True)
            self._output = self._faults.open("wb")  # stays open: nothing can be opened in a signal handler
            faulthandler.enable(self._output)

    def _name_by_fault(self, last: Start, plugins: Iterable[Plugin]) -> None:
        """Take over from the stacks of a fault whose code it was, where nothing else tells."""
        try:
            text = self._faults.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        stack = text.partition("Current thread")[2].partition("\n\n")[0]
        for line in stack.splitlines():
            for plugin in plugins:
                if last.at_work == "" and _is_of(plugin, line):
                    last.at_work, last.doing = plugin.name, "running, of a fault in C"


def _is_of(plugin: Plugin, line: str) -> bool:
    """Tell whether a line of a stack names a file of a plugin."""
    path = line.replace(os.sep, "/")
    if plugin.source is Source.FOLDER:
        return f'File "{Path(plugin.location).as_posix()}/' in path
    return f"/{plugin.root}/" in path or f'/{plugin.root}.py"' in path
