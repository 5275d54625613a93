"""Paths that must stay inside the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from coder_local.api import Fault, StepError
from coder_plugins.execution.rules.references import refers


def leads_out(path: str) -> bool:
    """Tell whether a relative path leaves the folder by its words alone; absolute ones are looked at when it runs."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else 0 if part in {".", "/"} else 1
        if depth < 0:
            return True
    return False


def is_absolute(path: str) -> bool:
    """Tell whether a path is absolute on any system."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def outside(root: Path, path: str, pointer: str) -> Iterator[Fault]:
    """Yield a fault if a path leads out of a folder as it is now; links are followed, references are let pass."""
    base = root.resolve()
    if not refers(path) and base not in ((target := (base / path).resolve()), *target.parents):
        yield Fault(pointer, f"{path} leads out of the folder of the run", "name something below it")


def inside(root: Path, path: str) -> Path:
    """Return a path below a folder, links followed. Raises `StepError` if it leads out of it."""
    base = root.resolve()
    target = (base / path).resolve()
    if target != base and base not in target.parents:
        raise StepError(f"{path} leads out of the folder of the run, {root}", word="outside", retry=False)
    return target
