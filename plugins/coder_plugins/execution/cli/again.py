"""`runs retry` and `runs rewind`: new runs made from old ones."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from coder_local.cli.api import Command, Failure, Parser, Session, ask, clean

from . import finding, planfile, running

_RETRY = """\
By default it does again what did not succeed, and takes over every other result. With --plan it runs the steps of that
file, the corrected ones; a result still stands if its step, and all that it needs, is the same.
"""
_REWIND = """\
The new run shares what was finished before STEP, and does that step and all that hangs on it again. The old run is
untouched.
"""


def _again(parser: Parser) -> None:
    parser.add_argument("--input", action="append", default=[], metavar="KEY=VALUE", help="another input; repeatable")
    parser.add_argument("--detach", action="store_true", help="start it, print its id, and go")


def _retry_arguments(parser: Parser) -> None:
    finding.add(parser)
    parser.add_argument(
        "--from", dest="source", default="failed", metavar="WHERE", help="failed (default), start, or the key of a step"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="the corrected steps")
    _again(parser)


def _retry(session: Session, arguments: Namespace) -> int:
    old = finding.view_of(session, arguments.run)["run"]
    given: dict[str, Any] = {"id": old["id"], "source": arguments.source}
    known: dict[str, Any] = old["inputs"]
    plan = None if arguments.plan is None else planfile.read(arguments.plan)
    if plan is not None:
        known = {**known, **plan.content.get("inputs", {})}
        given |= {"definition": "latest", "steps": plan.content["steps"]}
    given["inputs"] = planfile.inputs(known, arguments.input)
    given["external"] = _external(old)
    if plan is not None:
        checked = running.check(session, plan, {**given, **({"folder": old["folder"]} if old.get("folder") else {})})
        given["external"] = checked["safety"] == "external"
    _confirm(session, f"retry {old['name']} ({old['status']}) from {arguments.source}", external=given["external"])
    return _report(session, session.call("execution.runs.retry", given, yes=True), arguments)


def _rewind_arguments(parser: Parser) -> None:
    finding.add(parser, needed=True)
    parser.add_argument("step", metavar="STEP", help="the step that it goes on from")
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value in the step's input; KEY:=JSON",
    )
    _again(parser)


def _rewind(session: Session, arguments: Namespace) -> int:
    old = finding.view_of(session, arguments.run)["run"]
    given: dict[str, Any] = {"id": old["id"], "step": arguments.step, "external": _external(old)}
    if arguments.input:
        given["inputs"] = planfile.inputs(old["inputs"], arguments.input)
    if arguments.change:
        given["change"] = planfile.inputs({}, arguments.change)
    _confirm(session, f"run {old['name']} again from {arguments.step}", external=given["external"])
    return _report(session, session.call("execution.runs.rewind", given, yes=True), arguments)


def _external(old: dict[str, Any]) -> bool:
    """Tell whether somebody agreed that a run may leave this machine."""
    return "external" in old["rights"]["confirmed"]


def _confirm(session: Session, what: str, *, external: bool) -> None:
    risk = (
        "run programs, change files, and leave this machine or spend money"
        if external
        else ("run programs and change files")
    )
    if not (session.settings.yes or ask(clean(f"This will {what}, which may {risk}."))):
        raise Failure("needs_confirmation", "nobody confirmed it", hint="give --yes to confirm")


def _report(session: Session, forked: dict[str, Any], arguments: Namespace) -> int:
    kept = ", ".join(forked["reused"])
    session.output.note(f"run {forked['run']['id']} takes over {kept or 'nothing'}")
    return running.report(session, forked["run"], detach=arguments.detach)


COMMANDS = {
    "runs retry": Command(_retry_arguments, _retry, _RETRY),
    "runs rewind": Command(_rewind_arguments, _rewind, _REWIND),
}
