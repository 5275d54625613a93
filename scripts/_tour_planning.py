"""The first part of the tour: a backlog is imported, ordered, changed and undone."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _touring import ROOT, Row, Stage

from coder_ipc import IpcError
from coder_ipc.client import Client

LARGE_LIST = ROOT.parent / "shared" / "data" / "beads-issues.jsonl"
SMALL_LIST = ROOT / "docs" / "examples" / "beads-small.jsonl"
CHECKLISTS = "Checklists of this repository"
SHOWN = 5
EVENT_LIMIT_S = 5.0

_CHECKLIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\[[ xX/-]\]\s", re.MULTILINE)


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


class PlanningTour:
    """Shows the main job step by step."""

    def __init__(self, stage: Stage, client: Client, listener: Listener) -> None:
        self._stage = stage
        self._client = client
        self._listener = listener
        self._project = ""

    def walk(self) -> None:
        """Take all steps. Raises `TourError` naming the one that failed."""
        with self._stage.step("Import a list of issues"):
            self._project = self._bring(LARGE_LIST if LARGE_LIST.exists() else SMALL_LIST, None)
        with self._stage.step("Import the Markdown checklists of this repository"):
            self._bring_checklists()
        with self._stage.step("What is ready: nothing holds it, nothing open blocks it"):
            self._show_ready()
        with self._stage.step("What is blocked, and why"):
            self._show_blocked()
        with self._stage.step("What to do next, and the terms of each score"):
            self._show_next()
        with self._stage.step("When it can be done: the schedule and its critical path"):
            self._show_schedule()
        with self._stage.step("Change something, and undo it"):
            self._change_and_undo()
        with self._stage.step("The events that were pushed meanwhile"):
            self._show_events()

    # -- steps --------------------------------------------------------------------------------------------------------

    def _bring(self, path: Path, project: str | None) -> str:
        report = self._stage.call_with_progress(
            self._client, "planning.import", {"path": str(path), "project": project}, f"reading {path.name}"
        )
        links = f"{report['links']} links stand"
        links += f", {len(report['unresolved'])} lead to records that are not here" if report["unresolved"] else ""
        self._stage.say(
            f"{path.name} ({report['format']}) -> project {report['project']}: {report['created']} created, "
            f"{report['updated']} updated, {report['unchanged']} unchanged; {links}"
        )
        for refused in report["refused_links"][:SHOWN]:
            link = f"{refused['id']} {refused['kind']} {refused['target']}"
            self._stage.say(f"refused: {link}, which would close the ring {' > '.join(refused['cycle'])}")
        return str(report["project"])

    def _bring_checklists(self) -> None:
        pages = [*ROOT.glob("*.md"), *(page for page in ROOT.glob("docs/**/*.md") if "examples" not in page.parts)]
        found = [page for page in sorted(pages) if _CHECKLIST.search(page.read_text("utf-8"))]
        if not found:
            self._stage.say("no page has a checklist now")
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
        self._stage.say(f"{answer['total']} tasks of {self._project} are ready; the first in the list:")
        self._stage.list([((each["key"], each["priority"]), each["title"], "") for each in answer["items"]])

    def _show_blocked(self) -> None:
        answer = self._ask("planning.blocked", limit=SHOWN)
        self._stage.say(f"{answer['total']} tasks of {self._project} wait; the first in the list:")
        rows: list[Row] = []
        for each in answer["items"]:
            ways = [", which waits for ".join(step["text"] for step in way) for way in each["chains"]]
            rows.append(((each["task"]["key"],), each["task"]["title"], "waits for " + "; and for ".join(ways)))
        self._stage.list(rows)

    def _show_next(self) -> None:
        rows: list[Row] = []
        for each in self._ask("planning.next", limit=SHOWN)["items"]:
            terms = " + ".join(f"{term['name']} {term['value']:g}" for term in each["terms"])
            rows.append(((each["task"]["key"], f"{each['score']:.3f}"), each["task"]["title"], f"= {terms}"))
        self._stage.list(rows)

    def _show_schedule(self) -> None:
        answer = self._ask("planning.schedule")
        rows = {row["key"]: row for row in answer["items"]}
        guessed = sum(1 for each in answer["assumptions"] if each["kind"] == "estimate")
        self._stage.say(
            f"If work starts on {answer['start']} and nobody is short of hands, all is done on {answer['finish']}. "
            f"{guessed} tasks have no estimate and count as the schedule assumes."
        )
        critical = [rows[key] for key in answer["critical"]]
        self._stage.say(f"A day lost on one of these {len(critical)} is a day lost; the first to begin:")
        self._stage.list([((row["key"], row["start"], row["finish"]), row["title"], "") for row in critical[:SHOWN]])

    def _change_and_undo(self) -> None:
        task = self._unblocking_task()
        if task is None:
            self._stage.say("no task is ready, so there is nothing to finish")
            return
        before = self._ask("planning.ready", limit=1)["total"]
        known = len(self._listener.events)
        freed = [each["key"] for each in self._client.call("planning.tasks.finish", {"id": task["id"]})["freed"]]
        try:
            after = self._ask("planning.ready", limit=1)["total"]
            told = ", ".join(freed[:SHOWN]) + (" and others" if len(freed) > SHOWN else "") or "nobody"
            self._stage.say(f"{task['key']} {task['title']!r} is done, which frees {told}.")
            self._stage.say(f"Ready before: {before}, now: {after}.")
        finally:
            change = self._client.call("planning.tasks.history", {"id": task["id"], "limit": 1})["items"][0]
            undone = self._client.call("changes.undo", {"change_set": change["change_set"]})
        again = self._ask("planning.ready", limit=1)["total"]
        self._stage.say(f"Undone: {undone['count']} record changed back. Ready again: {again}.")
        self._listener.wait(lambda events: len(events) >= known + 3)
        pushed = ", ".join(each["type"] for each in self._listener.events[known:])
        self._stage.say(f"Pushed while it happened: {pushed}")

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
            self._stage.say(f"No more came: {self._listener.lost}")
        if not counts:
            self._stage.say("none was pushed")
            return
        self._stage.list([((str(count),), name, "") for name, count in counts.most_common()])
        last = self._listener.events[-1]
        self._stage.say(
            f"The last one, as it was pushed: {last['type']} about {last['subject']}, sequence {last['sequence']}."
        )

    def _ask(self, name: str, **input: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.call(name, {"project": self._project, **input})
        return answer
