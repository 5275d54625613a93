"""The second part of the tour: a plan for this repository is written, approved, run, cut off and gone on with."""

from __future__ import annotations

import http.server
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _touring import INDENT, ROOT, Row, Stage, TourError

from coder_ipc import runtime, spawn
from coder_local.cli.parser import Settings
from coder_local.cli.session import Session
from coder_plugins.execution.cli import asking, recording, times
from coder_plugins.execution.cli.following import Follower
from coder_plugins.execution.cli.state import RunState
from coder_plugins.execution.cli.views import View, choose

GOAL = "Check this repository, note that it was checked, and tell the server of it"
KILL_LIMIT_S = 20.0
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "*.egg-info", "dist", "build")
_WORDS = "import sys, pathlib; print(len(pathlib.Path(sys.argv[1]).read_text('utf-8').split()), 'words')"
_HEADING = "## Two commands"
_NOTE = "Every page of this copy was counted, and its tests have passed."


class _Server(http.server.ThreadingHTTPServer):
    """A server of the tour's own, which counts how often it was asked."""

    asked = 0


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)  # noqa: S101 - no other server has this handler
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tour tells what was asked."""


@contextmanager
def serving() -> Iterator[_Server]:
    """Serve on a free port of loopback meanwhile."""
    with _Server(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _OwnSession(Session):
    """A session that starts the daemon as the tour does, to stay."""

    def start(self) -> None:
        spawn.attach_or_spawn(self.settings.data_dir, [sys.executable, "-m", "coder_local"])


class _Killer(Follower):
    """Follows a run, and kills the daemon as soon as a certain step surely runs."""

    def __init__(self, session: Session, run: str, state: RunState, view: View, during: str | None) -> None:
        super().__init__(session, run, state, view, self._approve)
        self._session_of = session
        self._view_of = view
        self._during = during
        self.killed: int | None = None
        """Pid of the daemon that was killed."""
        self.recovered = 0
        """Bytes of output that came after the kill, of the step that went on meanwhile."""

    def heard(self, item: dict[str, Any]) -> None:
        """Kill the daemon at the first output of the step, and count what comes of it later."""
        if item["type"] != "output" or item["step"] != self._during:
            return
        if self.killed is None:
            self._kill()
        else:
            self.recovered += len(str(item["text"]).encode())

    def _kill(self) -> None:
        found = runtime.read(self._session_of.settings.data_dir)
        if found is None:
            raise TourError("the daemon has gone by itself")
        self._view_of.note(f"kill -9: the daemon (pid {found.pid}) dies while the step `{self._during}` runs")
        os.kill(found.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        if not spawn.wait_stopped(found, KILL_LIMIT_S):
            raise TourError(f"the daemon (pid {found.pid}) does not die")
        self.killed = found.pid

    def _approve(self, wait: dict[str, Any]) -> str:
        """Decide as the person at the terminal would."""
        print(f"\n{asking.shown(wait)}\n-> approved by the tour, in your name\n", flush=True)
        return "approve"


class RunTour:
    """Shows a plan from its making to the record of its run."""

    def __init__(self, stage: Stage, data_dir: Path) -> None:
        self._stage = stage
        self._session = _OwnSession(Settings(data_dir=data_dir, yes=True))
        self._plan: dict[str, Any] = {}
        self._follower: _Killer | None = None

    def walk(self) -> None:
        """Take all steps. Raises `TourError` naming the one that failed."""
        with self._session, serving() as server, tempfile.TemporaryDirectory(prefix="coder-local-tour-") as folder:
            copy = Path(folder).resolve() / ROOT.name
            with self._stage.step("Write a plan for this repository"):
                shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
                self._write(copy, f"http://127.0.0.1:{server.server_port}/checked")
            with self._stage.step("Check the plan, and have exactly this version approved"):
                self._have_approved()
            with self._stage.step("Run it, and kill the daemon in the middle"):
                run = self._run()
            with self._stage.step("The flight recorder: nothing was lost, and nothing ran twice"):
                self._show_record(run, copy, server.asked)

    def _write(self, copy: Path, url: str) -> None:
        """Have a plan made from the template `checks`."""
        pages = [page.relative_to(copy).as_posix() for page in sorted(copy.glob("docs/*.md"))][:5]
        view = self._session.call(
            "planning.plans.generate",
            {
                "goal": GOAL,
                "template": "checks",
                "folder": str(copy),
                "inputs": {
                    "lint": _lint(),
                    "test": _tests(),
                    "files": pages,
                    "check": [sys.executable, "-c", _WORDS],
                    "edit": {"path": "README.md", "old": _HEADING, "new": f"{_NOTE}\n\n{_HEADING}"},
                    "ping": url,
                },
            },
        )
        self._plan = view["plan"]
        self._stage.say(f"{self._plan['goal']!r}, by {self._plan['maker']}; it works in a copy of this checkout:")
        rows: list[Row] = []
        for step in view["version"]["content"]["steps"]:
            needs = f"after {', '.join(step['needs'])}" if step["needs"] else ""
            rows.append(((step["key"], step["kind"]), step["title"] or "", needs))
        self._stage.list(rows)

    def _have_approved(self) -> None:
        found = self._session.call("planning.plans.validate", {"id": self._plan["id"]})
        for each in found["findings"]:
            self._stage.say(f"{each['severity']}: {each['message']}")
        if not found["ok"]:
            raise TourError("the plan cannot run")
        self._stage.say(f"It can run; the word on its worst step is {found['safety']}.")
        given = {"id": self._plan["id"], "content_hash": found["plan"]["content_hash"]}
        approved = self._session.call("planning.plans.approve", given)
        self._stage.say(f"Approved by {approved['approved_by']}: {approved['approved_hash'][:16]}… and nothing else")

    def _run(self) -> str:
        """Run the plan to its end, and kill the daemon on the way unless somebody else uses it."""
        others = self._session.call("daemon.status")["clients"] - 1
        if others:
            who = "one other program uses" if others == 1 else f"{others} other programs use"
            self._stage.say(f"{who} this daemon, so it is not killed; see --data-dir")
        run = str(self._session.call("planning.plans.execute", {"id": self._plan["id"]})["run"])
        state = RunState()
        with choose(state, self._session.output, as_json=False) as view:
            self._follower = _Killer(self._session, run, state, view, None if others else "test")
            code = self._follower.follow()
        if code:
            raise TourError(f"run {run} {state.status}; see: coder-local runs record {run}")
        return run

    def _show_record(self, run: str, copy: Path, asked: int) -> None:
        assert self._follower is not None  # noqa: S101 - made by the step before
        recorded = self._session.call("execution.runs.record", {"id": run})
        width = max(self._stage.console.width - 2 * INDENT, 30)
        for line in recording.lines(recorded, width):
            self._stage.console.print(f"{' ' * INDENT}{line}", markup=False, highlight=False, no_wrap=True, crop=True)
        attempts = [attempt for step in recorded["steps"] for attempt in step["attempts"]]
        steps = {attempt["key"] for attempt in attempts}
        noted = (copy / "README.md").read_text("utf-8").count(_NOTE)
        self._stage.say(
            f"\n{len(attempts)} attempts at {len(steps)} steps; the note stands in README.md {_often(noted)}, "
            f"and the server was asked {_often(asked)}."
        )
        if self._follower.killed is not None:
            self._stage.say(
                f"The daemon with pid {self._follower.killed} was killed; the step `test` went on without it, and "
                f"{times.size(self._follower.recovered)} of its output were recovered by the next one."
            )
        if not len(attempts) == len(steps) or (noted, asked) != (1, 1):
            raise TourError(f"something ran twice; see: coder-local runs record {run}")


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _lint() -> list[str]:
    ruff = Path(sys.executable).with_name("ruff.exe" if sys.platform == "win32" else "ruff")
    if ruff.exists():
        return [str(ruff), "check", "--no-cache", "ipc/coder_ipc"]
    return [sys.executable, "-m", "compileall", "-q", "ipc/coder_ipc"]


def _tests() -> list[str]:
    """Return a program that takes some seconds and says something all along: it is cut off in the middle."""
    if importlib.util.find_spec("pytest") is None:
        return [sys.executable, "-u", "-m", "compileall", "-f", "."]
    chosen = ["tests/ipc/test_client.py", "tests/ipc/test_runtime.py"]
    return [sys.executable, "-u", "-m", "pytest", "-q", "--color=no", "-m", "not alone", *chosen]
