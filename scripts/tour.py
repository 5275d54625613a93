"""Start the daemon, or attach to it, and walk a newcomer through the main job on real data.

`scripts/run.py` sets everything up and then runs this. Plain text where the output is no terminal.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from coder_ipc import IpcError, spawn
from coder_ipc.client import Client
from coder_ipc.runtime import Runtime, default_data_dir

ROOT = Path(__file__).resolve().parent.parent
LARGE_LIST = ROOT.parent / "shared" / "data" / "beads-issues.jsonl"
SMALL_LIST = ROOT / "docs" / "examples" / "beads-small.jsonl"
CHECKLISTS = "Checklists of this repository"
INTERRUPTED = 130
SHOWN = 5
INDENT = 3
STOP_LIMIT_S = 20.0
EVENT_LIMIT_S = 5.0

_CHECKLIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\[[ xX/-]\]\s", re.MULTILINE)


Row = tuple[tuple[str, ...], str, str]
"""One line of a list: short words in columns, a title, and what is told of it below."""


class TourError(Exception):
    """A step failed; the message says which, the cause why."""


class Listener:
    """Takes events as the daemon pushes them, on a connection and a thread of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._client = Client.connect(data_dir, name="tour-events")
        self._subscription = self._client.events(types=["planning.*"])
        self._changed = threading.Condition()
        self._stopping = False
        self.events: list[dict[str, Any]] = []
        self.lost = ""
        """Why no more events come, if none do."""
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            while not self._stopping:
                pushed = self._subscription.wait(0.1)
                if pushed is not None and "event" in pushed:
                    with self._changed:
                        self.events.append(pushed["event"])
                        self._changed.notify_all()
        except IpcError as error:
            self.lost = error.message

    def wait(self, done: Callable[[list[dict[str, Any]]], bool]) -> bool:
        """Wait until the events are those expected, some seconds at most; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: done(self.events), EVENT_LIMIT_S)

    def close(self) -> None:
        """Stop listening."""
        self._stopping = True
        self._thread.join(EVENT_LIMIT_S)
        self._client.close()


class Tour:
    """Shows the main job step by step."""

    def __init__(self, console: Console, client: Client, listener: Listener) -> None:
        self._console = console
        self._client = client
        self._listener = listener
        self._number = 0
        self._project = ""

    def walk(self) -> None:
        """Take all steps. Raises `TourError` naming the one that failed."""
        with self._step("Import a list of issues"):
            self._project = self._bring(LARGE_LIST if LARGE_LIST.exists() else SMALL_LIST, None)
        with self._step("Import the Markdown checklists of this repository"):
            self._bring_checklists()
        with self._step("What is ready: nothing holds it, nothing open blocks it"):
            self._show_ready()
        with self._step("What is blocked, and why"):
            self._show_blocked()
        with self._step("What to do next, and the terms of each score"):
            self._show_next()
        with self._step("When it can be done: the schedule and its critical path"):
            self._show_schedule()
        with self._step("Change something, and undo it"):
            self._change_and_undo()
        with self._step("The events that were pushed meanwhile"):
            self._show_events()

    # -- steps --------------------------------------------------------------------------------------------------------

    def _bring(self, path: Path, project: str | None) -> str:
        report = self._call_with_progress(
            "planning.import", {"path": str(path), "project": project}, f"reading {path.name}"
        )
        links = f"{report['links']} links stand"
        links += f", {len(report['unresolved'])} lead to records that are not here" if report["unresolved"] else ""
        self._say(
            f"{path.name} ({report['format']}) -> project {report['project']}: {report['created']} created, "
            f"{report['updated']} updated, {report['unchanged']} unchanged; {links}"
        )
        for refused in report["refused_links"][:SHOWN]:
            link = f"{refused['id']} {refused['kind']} {refused['target']}"
            self._say(f"refused: {link}, which would close the ring {' > '.join(refused['cycle'])}")
        return str(report["project"])

    def _bring_checklists(self) -> None:
        pages = [*ROOT.glob("*.md"), *(page for page in ROOT.glob("docs/**/*.md") if "examples" not in page.parts)]
        found = [page for page in sorted(pages) if _CHECKLIST.search(page.read_text("utf-8"))]
        if not found:
            self._say("no page has a checklist now")
            return
        project = self._checklist_project()
        for page in found:
            self._bring(page, project)

    def _checklist_project(self) -> str:
        projects = self._client.call("planning.projects.list", {"q": CHECKLISTS, "limit": 500})["items"]
        for project in projects:
            if project["name"] == CHECKLISTS:
                return str(project["key"])
        taken = {each["key"] for each in self._client.call("planning.projects.list", {"limit": 500})["items"]}
        key = next(key for key in ("DOCS", *(f"DOCS{number}" for number in range(2, 99))) if key not in taken)
        return str(self._client.call("planning.projects.create", {"name": CHECKLISTS, "key": key})["key"])

    def _show_ready(self) -> None:
        answer = self._ask("planning.ready", limit=SHOWN)
        self._say(f"{answer['total']} tasks of {self._project} are ready; the first in the list:")
        self._list([((each["key"], each["priority"]), each["title"], "") for each in answer["items"]])

    def _show_blocked(self) -> None:
        answer = self._ask("planning.blocked", limit=SHOWN)
        self._say(f"{answer['total']} tasks of {self._project} wait; the first in the list:")
        rows: list[Row] = []
        for each in answer["items"]:
            ways = [", which waits for ".join(step["text"] for step in way) for way in each["chains"]]
            rows.append(((each["task"]["key"],), each["task"]["title"], "waits for " + "; and for ".join(ways)))
        self._list(rows)

    def _show_next(self) -> None:
        rows: list[Row] = []
        for each in self._ask("planning.next", limit=SHOWN)["items"]:
            terms = " + ".join(f"{term['name']} {term['value']:g}" for term in each["terms"])
            rows.append(((each["task"]["key"], f"{each['score']:.3f}"), each["task"]["title"], f"= {terms}"))
        self._list(rows)

    def _show_schedule(self) -> None:
        answer = self._ask("planning.schedule")
        rows = {row["key"]: row for row in answer["items"]}
        guessed = sum(1 for each in answer["assumptions"] if each["kind"] == "estimate")
        self._say(
            f"If work starts on {answer['start']} and nobody is short of hands, all is done on {answer['finish']}. "
            f"{guessed} tasks have no estimate and count as the schedule assumes."
        )
        critical = [rows[key] for key in answer["critical"]]
        self._say(f"A day lost on one of these {len(critical)} is a day lost; the first to begin:")
        self._list([((row["key"], row["start"], row["finish"]), row["title"], "") for row in critical[:SHOWN]])

    def _change_and_undo(self) -> None:
        task = self._unblocking_task()
        if task is None:
            self._say("no task is ready, so there is nothing to finish")
            return
        before = self._ask("planning.ready", limit=1)["total"]
        known = len(self._listener.events)
        freed = [each["key"] for each in self._client.call("planning.tasks.finish", {"id": task["id"]})["freed"]]
        try:
            after = self._ask("planning.ready", limit=1)["total"]
            told = ", ".join(freed[:SHOWN]) + (" and others" if len(freed) > SHOWN else "") or "nobody"
            self._say(f"{task['key']} {task['title']!r} is done, which frees {told}.")
            self._say(f"Ready before: {before}, now: {after}.")
        finally:
            change = self._client.call("planning.tasks.history", {"id": task["id"], "limit": 1})["items"][0]
            undone = self._client.call("changes.undo", {"change_set": change["change_set"]})
        again = self._ask("planning.ready", limit=1)["total"]
        self._say(f"Undone: {undone['count']} record changed back. Ready again: {again}.")
        self._listener.wait(lambda events: len(events) >= known + 3)
        self._say("Pushed while it happened: " + ", ".join(each["type"] for each in self._listener.events[known:]))

    def _unblocking_task(self) -> dict[str, Any] | None:
        """Return the most urgent ready task, rather one that others wait for."""
        found = self._ask("planning.next", limit=100)["items"]
        for each in found:
            if any(term["name"] == "blocking" for term in each["terms"]):
                return dict(each["task"])
        return dict(found[0]["task"]) if found else None

    def _show_events(self) -> None:
        counts = Counter(each["type"] for each in self._listener.events)
        if self._listener.lost:
            self._say(f"No more came: {self._listener.lost}")
        if not counts:
            self._say("none was pushed")
            return
        self._list([((str(count),), name, "") for name, count in counts.most_common()])
        last = self._listener.events[-1]
        self._say(
            f"The last one, as it was pushed: {last['type']} about {last['subject']}, sequence {last['sequence']}."
        )

    # -- helpers ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self._number += 1
        self._console.print(f"\n{self._number}. {title}", style="bold")
        started = time.monotonic()
        try:
            yield
        except (IpcError, OSError, KeyError, ValueError) as error:
            raise TourError(f"{self._number}. {title}") from error
        self._console.print(f"   ({time.monotonic() - started:.1f} s)", style="dim")

    def _ask(self, name: str, **input: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.call(name, {"project": self._project, **input})
        return answer

    def _call_with_progress(self, name: str, params: dict[str, Any], first: str) -> dict[str, Any]:
        if not self._console.is_terminal:
            answer: dict[str, Any] = self._client.call(name, params)
            return answer
        columns = (TextColumn("   {task.description}", markup=False), BarColumn(30), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(first, total=None)

            def show(state: dict[str, Any]) -> None:
                progress.update(bar, completed=state["done"], total=state.get("total"), description=state["message"])

            shown: dict[str, Any] = self._client.call(name, params, on_progress=show)
        return shown

    def _say(self, text: str) -> None:
        self._console.print(Padding(Text(text), (0, 0, 0, INDENT), expand=False))

    def _list(self, rows: list[Row]) -> None:
        """Print a line for each row, its title cut to the width, and what is told of it below."""
        widths = [max(map(len, column)) for column in zip(*(words for words, _, _ in rows), strict=True)]
        for words, title, told in rows:
            start = " " * (2 * INDENT) + "".join(
                word.ljust(width + 2) for word, width in zip(words, widths, strict=True)
            )
            self._console.print(Text(start + title), no_wrap=True, overflow="ellipsis", crop=True)
            if told:
                self._console.print(Padding(Text(told, style="dim"), (0, 0, 0, 4 * INDENT), expand=False))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Start the daemon, or attach to it, and show the main job.")
    parser.add_argument("--once", action="store_true", help="stop the daemon at the end")
    parser.add_argument("--no-tour", action="store_true", help="only start the daemon")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where it keeps its data (default: the user's own)"
    )
    return parser.parse_args()


def make_console() -> Console:
    """Return a console that writes on any terminal: what a code page lacks becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    return Console(markup=False, highlight=False, emoji=False)


def start(console: Console, data_dir: Path) -> Runtime:
    """Attach to the daemon of a data directory or start it, and say which."""
    started = time.monotonic()
    try:
        found, word = spawn.attach(data_dir), "It runs already"
    except IpcError:
        command = [sys.executable, "-m", "coder_local"]
        found, word = spawn.attach_or_spawn(data_dir, command), "Started"
    console.print(f"{word}: pid {found.pid}, data in {data_dir} ({time.monotonic() - started:.1f} s)")
    return found


def stop(console: Console, data_dir: Path, found: Runtime) -> None:
    """Stop the daemon and wait until it has ended."""
    with Client.connect(data_dir, name="tour") as client:
        client.call("daemon.stop")
    ended = spawn.wait_stopped(found, STOP_LIMIT_S)
    console.print("\nThe daemon has stopped." if ended else f"\nThe daemon (pid {found.pid}) is still stopping.")


def how_to_reach(data_dir: Path) -> str:
    """Return the one line on how to go on with the daemon that runs."""
    command = Path(sys.executable).with_name("coder-local" + (".exe" if sys.platform == "win32" else ""))
    try:
        shown = command.relative_to(Path.cwd())
    except ValueError:
        shown = command
    folder = "" if data_dir == default_data_dir() else f" --data-dir {data_dir}"
    return f"{shown}{folder} status"


def explain_failure(console: Console, error: BaseException, data_dir: Path) -> None:
    """Say what failed and how to go on."""
    cause = error.__cause__ if isinstance(error, TourError) and error.__cause__ else error
    where = f"The tour stopped at step {error}" if isinstance(error, TourError) else "The daemon could not be reached"
    console.print(f"\n{where}: {cause}", style="bold red")
    hint = getattr(cause, "hint", None)
    if hint:
        console.print(f"   {hint}")
    console.print(
        f"   What was done so far is kept, and a second run goes on from there. The daemon: {how_to_reach(data_dir)}"
    )
    console.print(f"   Its log: {data_dir / 'logs'}")


def main() -> int:
    """Run the tour and return the exit code: 0, 1 after a failure, 130 when interrupted."""
    options = parse_arguments()
    console = make_console()
    data_dir = (options.data_dir or default_data_dir()).expanduser().absolute()
    found: Runtime | None = None
    code = 0
    try:
        found = start(console, data_dir)
        if not options.no_tour:
            tour(console, data_dir)
    except (TourError, IpcError, OSError) as error:
        explain_failure(console, error, data_dir)
        code = 1
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        code = INTERRUPTED
    if found is not None:
        code = finish(console, data_dir, found, once=options.once) or code
    return code


def tour(console: Console, data_dir: Path) -> None:
    """Walk through the main job on connections of its own."""
    listener = Listener(data_dir)
    try:
        with Client.connect(data_dir, name="tour") as client:
            Tour(console, client, listener).walk()
    finally:
        listener.close()


def finish(console: Console, data_dir: Path, found: Runtime, *, once: bool) -> int:
    """Stop the daemon, or say how to reach it; return 1 if it could not be stopped."""
    if not once:
        console.print(f"\nThe daemon goes on running. Reach it with:  {how_to_reach(data_dir)}", soft_wrap=True)
        return 0
    try:
        stop(console, data_dir, found)
    except IpcError as error:
        explain_failure(console, error, data_dir)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
