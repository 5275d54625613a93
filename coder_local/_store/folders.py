"""The folders that plugins keep what is too large for the database in."""

from __future__ import annotations

import weakref
from pathlib import Path

from coder_local.api import DeclarationError

TAKEN = frozenset({"snapshots", "quarantine", "replaced", "plugins"})
"""Folders of the data directory that the daemon itself keeps."""


class Folders:
    """Makes each folder when it is first asked for; without a data directory in a temporary one."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._known: dict[str, Path] = {}
        self._end: weakref.finalize[..., Folders] | None = None

    def of(self, plugin: str) -> Path:
        """Return the folder of a plugin; may be asked on any thread.

        Raises `DeclarationError` outside a plugin's function, and for a domain whose name is a folder of the daemon.
        """
        found = self._known.get(plugin)
        if found is not None:
            return found
        if not plugin:
            raise DeclarationError("no plugin's function runs here, so there is no folder of its own")
        if plugin in TAKEN:
            raise DeclarationError(f"a domain called {plugin} has no folder: the daemon keeps its own things there")
        root = self._temporary() if self._root is None else self._root
        folder = root / plugin
        folder.mkdir(mode=0o700, exist_ok=True)
        self._known[plugin] = folder
        return folder

    def close(self) -> None:
        """Take a temporary folder away."""
        self._known.clear()
        if self._end is not None:
            self._end()

    def _temporary(self) -> Path:
        import shutil  # noqa: PLC0415 - only a store in memory needs it
        import tempfile  # noqa: PLC0415

        root = Path(tempfile.mkdtemp(prefix="coder-local-"))
        self._end = weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
        self._root = root
        return root
