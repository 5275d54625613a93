"""`runs list`, `show`, `follow` and `record`: looking at runs."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from coder_local.cli.api import Command, Parser, Session, clean, moment, rows_of, table, width

from . import asking, finding, following, recording, times
from .state import RunState, summary
from .views import tree_text

_SUB_RUNS = 50
"""Runs below a run that are shown with it."""
_FOLLOW = "Exits as `coder-local run` does. Ctrl-C cancels the run, a second one leaves it to itself.\n"
_RECORD = """\
An attempt is on disk before it has any effect (the intent), and again when it has ended (the result). What a crash cut
off is `lost` if it was begun anew, and `unknown` if a person had to decide.
"""


def _list_arguments(parser: Parser) -> None:
    parser.add_argument("--status", metavar="STATUS", help="only these: running, failed, needs_decision, ...")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20)")


def _list(session: Session, arguments: Namespace) -> int:
    asked = {"limit": arguments.limit, "sort": "-created_at"}
    if arguments.status is not None:
        asked["status"] = arguments.status
    answer = session.call("execution.runs.list", asked)
    if session.output.as_json:
        session.output.json(answer)
        return 0
    rows = [_row(run) for run in rows_of(answer["items"])]
    session.output.text(table(rows, width(), columns=tuple(rows[0])) if rows else "no runs")
    return 0


def _row(run: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = run.get("error") or {}
    return {
        "id": run["id"],
        "name": run["name"],
        "status": run["status"],
        "started": moment(str(run.get("started_at") or run["created_at"])),
        "took": times.length(times.between(run.get("started_at"), run.get("finished_at"))),
        "why": error.get("message") or run.get("reason") or "",
    }


def _any_run(parser: Parser) -> None:
    finding.add(parser)


def _show(session: Session, arguments: Namespace) -> int:
    view = finding.view_of(session, arguments.run)
    if session.output.as_json:
        session.output.json(view)
        return 0
    state = RunState()
    state.load(view)
    _unfold(session, state, _SUB_RUNS)
    session.output.text("\n".join([*_head(state), "", tree_text(state), *_waits(state)]))
    return 0


def _unfold(session: Session, state: RunState, room: int) -> int:
    """Read the runs that steps of a run began, and those below them, at most `room`; return how many more may be."""
    if room <= 0 or not any(step.kind == "sub_run" for step in state.steps.values()):
        return room
    begun = rows_of(session.call("execution.runs.list", {"parent_run": state.run["id"], "limit": 500})["items"])
    latest = {str(run["parent_step"]): str(run["id"]) for run in begun}  # of a step that was tried again the last one
    for key, run in list(latest.items())[:room]:
        sub = state.sub_runs[key] = RunState()
        sub.load(finding.view_of(session, run))
        room = _unfold(session, sub, room - 1)
    return room


def _head(state: RunState) -> list[str]:
    run = state.run
    end = run.get("finished_at")
    began = times.seconds_of(run.get("started_at"))
    taken = None if began is None else (times.seconds_of(end) or time.time()) - began
    error: dict[str, Any] = run.get("error") or {}
    facts = {
        "run": f"{run['id']}  {state.name}{'  (dry)' if run.get('mode') == 'dry' else ''}",
        "status": f"{state.status}: {summary(state.counts())}",
        "why": error.get("message") or run.get("reason"),
        "started": moment(str(run["started_at"])) if began is not None else "",
        "took" if end else "since": times.length(taken),
        "folder": run.get("folder"),
        "made from": f"{run['fork']} of {run['forked_from']}" if run.get("forked_from") else "",
        "part of": f"step {run['parent_step']} of {run['parent_run']}" if run.get("parent_run") else "",
    }
    return [f"{name:<10}{clean(str(value))}" for name, value in facts.items() if value]


def _waits(state: RunState) -> list[str]:
    asked = [wait for wait in state.waits if wait["kind"] in {"approval", "decision"}]
    return [line for wait in asked for line in ("", asking.shown(wait), f"decide with: {asking.how(wait)}")]


def _follow(session: Session, arguments: Namespace) -> int:
    return following.follow(session, finding.id_of(session, arguments.run))


def _record_arguments(parser: Parser) -> None:
    finding.add(parser)
    parser.add_argument("--step", metavar="KEY", help="only this step")


def _record(session: Session, arguments: Namespace) -> int:
    asked = {"id": finding.id_of(session, arguments.run)}
    if arguments.step is not None:
        asked["step"] = arguments.step
    if session.output.as_json:
        session.output.json(_recorded(session, asked))
        return 0
    for page in finding.pages(session, "execution.runs.record", asked):
        session.output.text("\n".join(recording.lines(page, width())))
    return 0


def _recorded(session: Session, asked: dict[str, Any]) -> dict[str, Any]:
    """Return all pages of a record as one answer."""
    pages = list(finding.pages(session, "execution.runs.record", asked))
    joined = {name: [each for page in pages for each in page[name]] for name in ("steps", "waits", "signals")}
    return {**pages[-1], **joined}


COMMANDS = {
    "runs list": Command(_list_arguments, _list),
    "runs show": Command(_any_run, _show),
    "runs follow": Command(_any_run, _follow, _FOLLOW),
    "runs record": Command(_record_arguments, _record, _RECORD),
}
