"""The modules of a plugin: taking them out of `sys.modules`, putting them back, and what of them stays all the same."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

from coder_local.api import DeclarationError


def below(name: str, root: str) -> bool:
    """Tell whether a module is that root, or below it."""
    return name == root or name.startswith(f"{root}.")


def of(root: str) -> dict[str, ModuleType]:
    """Return the loaded modules of a root, by name."""
    return {name: module for name, module in sys.modules.copy().items() if below(name, root)}


def take(root: str) -> dict[str, ModuleType]:
    """Take a root's modules out of `sys.modules`, so that the next import runs their files; return what was there."""
    found = of(root)
    for name in found:
        sys.modules.pop(name, None)
    return found


def put_back(root: str, before: Mapping[str, ModuleType]) -> None:
    """Put modules back that were taken out, in place of what was imported meanwhile."""
    take(root)
    sys.modules.update(before)


def left_by(loaded: Mapping[str, ModuleType]) -> list[str]:
    """Return what of some modules stays although they were taken out, in words: extensions in C, and threads."""
    endings = tuple(EXTENSION_SUFFIXES)
    left = [
        f"the C extension {name} stays as it was first loaded"
        for name, module in loaded.items()
        if str(getattr(module, "__file__", None)).endswith(endings)
    ]
    for thread in threading.enumerate():
        target = getattr(thread, "_target", None)  # there is no public way to what a thread runs
        if {getattr(target, "__module__", None), type(thread).__module__} & loaded.keys():
            left.append(f"its thread {thread.name} goes on; end it with on_stop")
    return left


def forget_bytecode(loaded: Mapping[str, ModuleType]) -> None:
    """Remove the compiled files of some modules where they may be removed.

    A change in the same second that leaves the length as it was would not be noticed by their time stamp.
    """
    for module in loaded.values():
        if compiled := getattr(module, "__cached__", None):
            with contextlib.suppress(OSError):
                Path(compiled).unlink()
    importlib.invalidate_caches()


def remove_bytecode(folder: Path) -> None:
    """Remove compiled files: they are not part of the hash, and one made by hand would run in place of its source."""
    import shutil  # noqa: PLC0415 - 2 ms, and only for a plugin of others

    for cache in list(folder.rglob("__pycache__")):
        try:
            cache.unlink() if cache.is_symlink() else shutil.rmtree(cache)
        except OSError as error:
            raise DeclarationError(f"{cache} cannot be removed: {error}; remove it, then enable the plugin") from error
