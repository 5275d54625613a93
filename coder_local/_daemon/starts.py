"""The record of the last starts, `starts.json` in the data directory: who was at work when one was cut off."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from coder_local._registry.plugins import Plugin, Source

from . import suspicion
from .suspicion import Record, Start

FAULTS = "fault.txt"
"""File in `logs` that the stacks of all threads are written to when the process dies of a fault in C."""
_LIMIT = 1024 * 1024

_log = logging.getLogger("coder_local.plugins")


class Starts:
    """Watches one start. Everything is called on the loop; a record that cannot be written keeps nothing from running.

    `path` is the file of the record, `logs` the folder for what a fault in C leaves.
    """

    def __init__(self, path: Path, logs: Path) -> None:
        self._path = path
        self._faults = logs / FAULTS
        self._record = self._read()
        self._output: int | None = None
        self._begun = False
        """Whether this start is watched; if not, what the file says is of another one, and stays."""
        self._passing = False
        """Whether what is watched is no start, but a plugin that was enabled while the daemon runs."""

    def begin(self, plugins: Iterable[Plugin]) -> dict[str, str]:
        """Begin to watch a start with some plugins of others; return which to leave out, each with the reason."""
        third, self._begun = list(plugins), True
        if self._record.open is not None:
            self._name_by_fault(self._record.open, third)
        out = suspicion.begin(self._record, [plugin.name for plugin in third])
        self._write(firmly=True)
        self._listen()
        return out

    def at_work(self, plugin: Plugin, doing: str) -> None:
        """Note that a plugin's code is imported or started, or with nothing that this is done."""
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
        if self._begun and self._record.open is not None:
            suspicion.clean(self._record)
            self._write(firmly=True)

    def leave(self) -> None:
        """Note that the daemon was asked to stop."""
        if (self._begun or self._passing) and self._record.open is not None:
            suspicion.leave(self._record)
            self._write(firmly=True)

    def close(self) -> None:
        """Write no stack any more; for tests, which begin many starts in one process."""
        if self._output is not None:
            faulthandler.disable()
            os.close(self._output)
            self._output = None

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
            # It stays open until the process ends: nothing can be opened when the fault is there.
            self._output = os.open(self._faults, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
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
