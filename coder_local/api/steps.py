"""Kinds of steps that a run may have: what a plugin offers through the hook `step_kinds`.

A kind is one object. It is asked, in this order: `check` and `safety` before anything runs, `effect` of one input,
`prepare` when something must be known before the effect, `run` for the effect itself, and after a crash in the middle
of it `recover`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic, LiteralString, TypeVar

import msgspec

from .errors import Fault
from .operations import Safety
from .records import Value
from .scope import Snapshot

I = TypeVar("I", bound=Value)  # noqa: E741 - the input of a kind


class Effect(StrEnum):
    """What may be done about a step that was begun when the daemon died, for nobody saw its end."""

    TRANSACTIONAL = "transactional"
    """Changes this database alone: effect and result are one commit, so it happened whole or not at all."""
    REPEATABLE = "repeatable"
    """Does no harm twice: it is done again."""
    KEYED = "keyed"
    """The other side knows a repeated call by its key: it is done again with the same key."""
    CHECKABLE = "checkable"
    """One can look whether it happened."""
    ADOPTABLE = "adoptable"
    """It goes on without the daemon, and leaves its end behind."""
    ONCE = "once"
    """Nobody can tell, and twice would harm: a person is asked."""


class StepError(Exception):
    """A step failed. `word` is what `retry.on` of a step can name, `data` what a person should see of it."""

    def __init__(
        self, message: str, *, word: str = "failed", retry: bool = True, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.word = word
        self.retry = retry
        """False if doing it again cannot help, whatever the step's `retry` says."""
        self.data = dict(data or {})


class Found(Value):
    """What `recover` found out about a step that was begun before the daemon died."""

    state: str
    """`not_begun`, `done`, `failed` or `unknown`."""
    output: Any = None
    """Of `done`: what the step would have answered."""
    message: str = ""
    """Of `failed`, and of `unknown` what the person is told who must decide."""
    word: str = "failed"
    data: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class StepRun(ABC):
    """One attempt of one step, as the functions of its kind see it."""

    run: str
    """Id of the run."""
    key: str
    """Key of the step in it, `test[linux,3.12]` for one of a fan-out."""
    attempt: int
    """1 for the first."""
    idempotency_key: str
    """The same for all attempts of the step."""
    folder: Path
    """The attempt's own folder, for what must survive a crash; made when first asked for."""
    root: Path | None
    """The folder that the run works in."""
    facts: dict[str, Any]
    """What `prepare` answered; it was on disk before `run` began."""
    grace: float | None = None
    """When it is cancelled: the seconds that the caller gives it to end, None for as long as its kind sees fit."""
    parking: bool = False
    """When it is cancelled: whether only the daemon stops, so that what can go on without it is left alone."""
    exit_code: int | None = None
    """Set by a kind that runs a program, for the record of the attempt."""
    signal: str | None = None
    """The same: the signal that ended the program, `SIGKILL`."""

    @abstractmethod
    async def call(self, name: LiteralString, /, **input: Any) -> Any:
        """Run an operation with the rights of whoever started the run."""

    @abstractmethod
    async def secret(self, reference: str) -> str:
        """Return the text that a `secret://` reference stands for; it is masked in the step's output from then on.

        Raises `Unsupported` if no plugin keeps secrets.
        """

    @abstractmethod
    async def keep(self, name: str, content: bytes, *, media_type: str = "application/octet-stream") -> str:
        """Keep a content as an artifact of the step, and return its SHA-256; equal contents are kept once."""

    @abstractmethod
    def log(self, text: str, *, stream: str = "stdout") -> None:
        """Add a text to the output of the step."""

    @abstractmethod
    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far it is; cheap, and free to be called often."""


class StepKind(ABC, Generic[I]):
    """What every kind of step tells of itself. A plugin's kind is a `WorkKind`."""

    name: ClassVar[str]
    """The word in a step's `kind`."""
    input: type[I]
    """What a step of this kind takes in its `input`."""
    revision: ClassVar[int] = 1
    """Raised when an input that was right means something else now; a run that began with a newer one is blocked."""
    process: ClassVar[bool] = False
    """Whether it takes the place of a process; few of those run at once, of the others many."""
    needs_folder: ClassVar[bool] = False
    """Whether it works in the folder of the run, so that there must be one."""

    @abstractmethod
    def safety(self, read: Snapshot, input: I, /) -> Safety:
        """Return the word on its danger."""

    def check(self, read: Snapshot, input: I, /) -> Iterable[Fault]:  # noqa: ARG002
        """Return what is wrong with an input beyond its schema, with pointers into it; before anything runs."""
        return ()

    def check_in(self, folder: Path, input: I, /) -> Iterable[Fault]:  # noqa: ARG002
        """Return the same as to the folder that the run works in, if it works in one. Values may be references."""
        return ()


class WorkKind(StepKind[I]):
    """A kind of step that does something. Make a subclass, and return one object of it from the hook `step_kinds`."""

    @abstractmethod
    def effect(self, read: Snapshot, input: I, /) -> Effect:
        """Return what may be done after a crash in the middle of it."""

    def prepares(self, input: I, /) -> bool:  # noqa: ARG002
        """Tell whether `prepare` must run, and its answer be on disk, before the effect."""
        return False

    async def prepare(self, step: StepRun, input: I, /) -> dict[str, Any]:  # noqa: ARG002
        """Return what must be known to judge a crash later, such as the hash of a file before it is written."""
        return {}

    @abstractmethod
    async def run(self, step: StepRun, input: I, /) -> Any:
        """Do it, and return the output as plain data. Raises `StepError`, or any named error.

        A cancelled attempt raises `CancelledError` here; what was begun must have been stopped when it goes on.
        """

    async def recover(self, step: StepRun, input: I, /) -> Found:  # noqa: ARG002
        """Find out what became of an attempt that was begun before the daemon died; wait for its end if it goes on."""
        return Found(state="unknown", message="nobody saw its end")
