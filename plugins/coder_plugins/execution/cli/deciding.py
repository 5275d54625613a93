"""`runs cancel`, `pause`, `resume`, `approve` and `reject`: what a person says to a run."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from coder_ipc.errors import RemoteError
from coder_local.cli.api import Command, Parser, Session, clean, invalid, json_of, rows_of

from . import asking, finding

_RESUME = """\
A step that a crash left undecided needs a CHOICE: `retry` does it again, `done` takes --output for its result, `skip`
leaves it out, `fail` takes it for failed.
"""
_APPROVE = """\
RUN may also be the id of the approval itself. What is decided on is shown before; the decision holds for exactly that.
"""


def _cancel_arguments(parser: Parser) -> None:
    finding.add(parser, needed=True)
    parser.add_argument("--grace", type=float, metavar="SECONDS", help="between the soft signal and the hard one")
    parser.add_argument("--compensate", action="store_true", help="undo then what was done")


def _cancel(session: Session, arguments: Namespace) -> int:
    given: dict[str, Any] = {"id": finding.id_of(session, arguments.run)}
    if arguments.grace is not None:
        given["grace"] = arguments.grace
    if arguments.compensate:
        given["compensate"] = True
    return _say(session, session.call("execution.runs.cancel", given, safety="destructive"))


def _one_run(parser: Parser) -> None:
    finding.add(parser, needed=True)


def _pause(session: Session, arguments: Namespace) -> int:
    run = finding.id_of(session, arguments.run)
    return _say(session, session.call("execution.runs.pause", {"id": run}, yes=True))  # it can be taken back


def _resume_arguments(parser: Parser) -> None:
    finding.add(parser, needed=True)
    parser.add_argument("step", metavar="STEP", nargs="?", help="the step to decide on")
    parser.add_argument("choice", metavar="CHOICE", nargs="?", choices=("retry", "done", "skip", "fail"))
    parser.add_argument("--output", metavar="JSON", help="of `done`: what the step would have answered")


def _resume(session: Session, arguments: Namespace) -> int:
    given: dict[str, Any] = {"id": finding.id_of(session, arguments.run)}
    if arguments.step is not None and arguments.choice is None:
        raise invalid("a step needs a choice", field="/choice", hint="say retry, done, skip or fail behind the step")
    if arguments.choice is not None:
        given |= {"step": arguments.step, "choice": arguments.choice}
    if arguments.output is not None:
        try:
            given["output"] = json_of(arguments.output)
        except ValueError as error:
            raise invalid(f"--output is not JSON: {error}", field="/output") from None
    return _say(session, session.call("execution.runs.resume", given, safety="destructive"))


def _decide_arguments(parser: Parser) -> None:
    finding.add(parser, needed=True)
    parser.add_argument("--step", metavar="KEY", help="which step, where several wait")
    parser.add_argument("--note", metavar="TEXT", help="kept with the decision")


def _approve_arguments(parser: Parser) -> None:
    _decide_arguments(parser)
    parser.add_argument("--choice", default="approve", metavar="CHOICE", help="another one of the choices")


def _approve(session: Session, arguments: Namespace) -> int:
    return _decide(session, arguments, arguments.choice)


def _reject(session: Session, arguments: Namespace) -> int:
    return _decide(session, arguments, "reject")


def _decide(session: Session, arguments: Namespace, choice: str) -> int:
    wait = _wait(session, arguments.run, arguments.step)
    if not session.output.as_json:
        session.output.text(asking.shown(wait))
    run = asking.decide(session, wait, choice, None if arguments.note is None else {"note": arguments.note})
    return _say(session, {"run": run})


def _wait(session: Session, named: str, step: str | None) -> dict[str, Any]:
    """Return the wait that is meant by a run, or by its own id."""
    run = finding.id_of(session, named)
    try:
        waits = asking.open_waits(session, run)
    except RemoteError as error:
        if error.kind != "not_found":
            raise
        everything = session.call("execution.waits.list", {"status": "open", "limit": 500})["items"]
        waits = [each for each in rows_of(everything) if each["id"] == named]
        if not waits:
            raise
    return asking.the_one([each for each in waits if each["kind"] == "approval"], run, step)


def _say(session: Session, answer: dict[str, Any]) -> int:
    run: dict[str, Any] = answer["run"]
    if session.output.as_json:
        session.output.json(run)
    else:
        session.output.text(clean(f"run {run['id']} ({run['name']}) is {run['status']}"))
    return 0


COMMANDS = {
    "runs cancel": Command(_cancel_arguments, _cancel, "Its programs get a soft signal first, and a hard one later."),
    "runs pause": Command(_one_run, _pause, "What runs comes to its end; nothing new begins."),
    "runs resume": Command(_resume_arguments, _resume, _RESUME),
    "runs approve": Command(_approve_arguments, _approve, _APPROVE),
    "runs reject": Command(_decide_arguments, _reject, _APPROVE),
}
