"""How far a migration is: written by the thread that migrates, read by any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from coder_local.api import Instant, Locked, Value

from .clock import instant

INSTRUCTIONS = 50_000
"""Instructions of SQLite's virtual machine between two looks at whether to go on."""
SNAPSHOT, CHECK = "snapshot", "check"
"""Steps before the first migration of a set, and after its last one."""


class Migrating(Value):
    """A migration that runs. No time to the end is told, because nobody can know it."""

    plugin: str
    """Whose tables are brought up to date; `core` for the daemon's own."""
    step: str
    """`snapshot`, the name of the migration that runs, or `check`: whether the tables are as the records need them."""
    done: int
    """Migrations of this plugin that were applied, of those that were not before."""
    of: int
    started_at: Instant
    elapsed_seconds: float
    """Since the first step of this plugin."""
    instructions: int
    """What SQLite has computed in this step, in instructions of its virtual machine: while it grows, it works."""
    message: str
    """All of it for a person: `migrating notes 0003 (2 of 3), 12 s`."""
    fraction: float | None = None
    """From 0 to 1, how much of the snapshot is written; null in any other step."""


class Step(NamedTuple):
    """Where a migration is."""

    plugin: str
    name: str
    done: int
    of: int
    started_ms: int
    since: float
    """Monotonic."""
    instructions: int = 0
    fraction: float | None = None

    @property
    def words(self) -> str:
        """The step in one line for a person."""
        seconds = int(time.monotonic() - self.since)
        if self.name == SNAPSHOT:
            copied = "" if self.fraction is None else f" ({int(100 * self.fraction)} %)"
            return f"writing a snapshot before migrating {self.plugin}{copied}, {seconds} s"
        if self.name == CHECK:
            return f"checking the tables of {self.plugin}, {seconds} s"
        return f"migrating {self.plugin} {self.name[:4]} ({self.done + 1} of {self.of}), {seconds} s"

    def told(self) -> Migrating:
        """Return the step as operations tell it."""
        return Migrating(
            plugin=self.plugin,
            step=self.name,
            done=self.done,
            of=self.of,
            started_at=instant(self.started_ms),
            elapsed_seconds=round(time.monotonic() - self.since, 3),
            instructions=self.instructions,
            message=self.words,
            fraction=self.fraction,
        )


class Progress:
    """The step that runs now, if any, and the wish that it end."""

    def __init__(self) -> None:
        self.current: Step | None = None
        """Exchanged as a whole, so that a reader on another thread never sees half of a change."""
        self.stopping = False
        self.began: Callable[[], None] = lambda: None
        """Called on the migrating thread when the migrations of a plugin begin."""

    def begin(self, plugin: str, of: int, now_ms: int) -> None:
        """Go over to the migrations of one plugin."""
        self.current = Step(plugin, SNAPSHOT, 0, of, now_ms, time.monotonic())
        self.began()

    def step(self, name: str, done: int) -> None:
        """Go over to another step. Raises `Locked` if it is to end."""
        self.go_on()
        if self.current is not None:
            self.current = self.current._replace(name=name, done=done, instructions=0, fraction=None)

    def copied(self, _status: int, remaining: int, total: int) -> None:
        """Note how many pages of the snapshot are left. Raises `Locked` if it is to end."""
        self.go_on()
        if self.current is not None:
            self.current = self.current._replace(fraction=round(1 - remaining / max(1, total), 3))

    def tick(self) -> int:
        """Note that SQLite has done some more; 1, which has it end with an error, if it is to."""
        if self.current is not None:
            self.current = self.current._replace(instructions=self.current.instructions + INSTRUCTIONS)
        return int(self.stopping)

    def go_on(self) -> None:
        """Raise `Locked` if the migration is to end."""
        if self.stopping:
            raise Locked("the daemon is stopping: the migration was taken back", hint="the next start begins it anew")

    def end(self) -> None:
        """Go over to nothing."""
        self.current = None
