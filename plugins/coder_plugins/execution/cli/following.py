"""Following a run to its end: through decisions, Ctrl-C, and a daemon that dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from coder_ipc import runtime
from coder_ipc.errors import ConnectionLost, RemoteError
from coder_local.cli.api import INTERRUPTED, Failure, Session

from . import asking, codes, finding
from .state import RunState
from .views import View, choose

Decide = Callable[[dict[str, Any]], str | None]


def follow(session: Session, run: str) -> int:
    """Show a run until it ends, and return the exit code for it."""
    state = RunState()
    with choose(state, session.output, as_json=session.settings.json) as view:
        decide = asking.ask if asking.is_there(session) else None
        return Follower(session, run, state, view, decide).follow()


class Follower:
    """One follower of one run.

    `decide` is asked for a choice where the run waits for a person, and answers None to leave it to somebody else;
    without it nobody is there to decide.
    """

    def __init__(self, session: Session, run: str, state: RunState, view: View, decide: Decide | None = None) -> None:
        self._decide = decide
        self._session = session
        self._run = run
        self._state = state
        self._view = view
        self._cursor: str | None = None
        self._placed = False
        self._asked: set[str] = set()
        self._interrupted = False
        self._undecided = False

    def follow(self) -> int:
        """Show the run until it ends, or until nobody here can bring it further; return the exit code."""
        while True:
            try:
                if not self._state.read:
                    self._load()
                self._listen()
                break
            except KeyboardInterrupt:
                if self._interrupted:
                    return self._leave()
                self._interrupted = True
                try:
                    self._cancel()
                except KeyboardInterrupt:
                    return self._leave()
            except ConnectionLost:
                self._come_back()
        return self._end()

    def _listen(self) -> None:
        """Take what happens until the run has ended; what came before the cursor is not told again."""
        given = {"id": self._run, **({} if self._cursor is None else {"cursor": self._cursor})}
        with closing(self._session.items("execution.runs.follow", given)) as items:
            if self._cursor is not None:
                self._load()
                self._placed = True
            for item in items:
                self._take(item)
                self._cursor = item["cursor"]
                self.heard(item)
                if self._undecided:
                    return

    def heard(self, item: dict[str, Any]) -> None:
        """Look at an item that was shown; for a subclass."""

    def _take(self, item: dict[str, Any]) -> None:
        if item["type"] == "run" and not self._placed:
            self._load()  # once more: later than the place where the events begin, so nothing falls between the two
            self._placed = True
        if item["type"] == "step" and item.get("status") == "failed" and not item.get("text"):
            item = {**item, "text": self._why(str(item["step"]))}
        known = item.get("step") in self._state.steps
        self._view.said(item, self._state.hear(item))
        if self._state.read and item.get("step") and not known:
            self._load()  # a fan-out has become its steps
        if item["type"] == "wait" and item.get("approval"):
            self._decide_all()
        if item["type"] == "run" and item.get("status") == "needs_decision":
            self._undecided = self._decide is None

    def _load(self) -> None:
        self._state.load(finding.view_of(self._session, self._run))
        self._view.loaded()
        if self._state.waits and not self._state.over:
            self._decide_all()

    def _why(self, key: str) -> str:
        step = self._session.call("execution.steps.get", {"run": self._run, "step": key})["step"]
        error: dict[str, Any] = step.get("error") or {}
        return str(error.get("message") or "")

    def _decide_all(self) -> None:
        """Have the person here decide what waits for a decision, or say how it is decided."""
        for wait in asking.open_waits(self._session, self._run):
            if wait["id"] in self._asked:
                continue
            self._asked.add(wait["id"])
            if self._decide is None:
                self._view.note(f"{asking.shown(wait)}\ndecide with: {asking.how(wait)}")
                continue
            with self._view.aside():
                choice = self._decide(wait)
            if choice is None:
                self._view.note(f"left for later: {asking.how(wait)}")
                continue
            try:
                asking.decide(self._session, wait, choice)
            except RemoteError as error:  # somebody else was quicker, or it is over
                self._view.note(error.message)

    def _cancel(self) -> None:
        self._view.note("cancelling; Ctrl-C again leaves the run to itself")
        try:
            self._session.call("execution.runs.cancel", {"id": self._run}, yes=True)
        except ConnectionLost:  # Ctrl-C came in the middle of a message: the next one goes by a new connection
            self._session.close()
            self._session.call("execution.runs.cancel", {"id": self._run}, yes=True)
        except RemoteError as error:
            self._view.note(error.message)

    def _come_back(self) -> None:
        """Attach to the daemon again, starting one if the last one died. Raises `Failure` if it was stopped."""
        self._session.close()
        found = runtime.read(self._session.settings.data_dir)
        if found is None:
            raise Failure("broken", "the daemon was stopped", hint=f"go on later: {how_to_follow(self._run)}")
        self._view.note("the daemon has died; starting another one, which goes on with the run")
        _ = self._session.client  # attaches, or starts one

    def _leave(self) -> int:
        self._session.close()
        self._view.note(f"left; the run goes on. Follow it with: {how_to_follow(self._run)}")
        return INTERRUPTED

    def _end(self) -> int:
        if self._undecided:
            self._view.note(f"run {self._run} waits for a decision")
            return codes.UNDECIDED
        self._state.load(finding.view_of(self._session, self._run))
        self._view.ended()
        return codes.of(self._state.status, interrupted=self._interrupted)


def how_to_follow(run: str) -> str:
    """Return the command that follows a run."""
    return f"coder-local runs follow {run}"
