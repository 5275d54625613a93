"""What a plugin tells the doctor: what is wrong with what it keeps in files and processes, and the cure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from .scope import Snapshot


class Symptom(NamedTuple):
    """One thing that is wrong."""

    message: str
    """What is wrong, as a sentence without a full stop. Names of things, never the texts that a person wrote."""
    hint: str = ""
    """What a person can do about it."""
    state: Literal["warning", "error"] = "warning"
    fix: str = ""
    """What `mend` would do, in the infinitive: `end the 2 processes`. Empty where a person must do it."""
    mend: Callable[[], str] | None = None
    """Does it, on a thread, and returns what was done; a named error of the api, or an `OSError`, says why not."""


class HealthCheck(NamedTuple):
    """One look of the doctor."""

    name: str
    """One word, `processes` say; shown behind the name of the plugin."""
    look: Callable[[Snapshot, Path], Iterable[Symptom]]
    """Called on a thread of its own with a snapshot of the database and the folder of the plugin; changes nothing."""
