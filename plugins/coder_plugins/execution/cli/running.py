"""`run`: a plan from a file, checked, confirmed, started and followed."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from coder_ipc.errors import RemoteError
from coder_local.cli.api import Command, Failure, Parser, Session, ask, clean, invalid, rows_of

from . import planfile
from .following import follow, how_to_follow
from .planfile import Plan

_ABOUT = """\
The file is YAML or JSON: a list of steps, or an object with `steps` and, if it likes, name, inputs, folder, parallel,
priority, concurrency_key and deadline. All that is wrong with it is shown before anything runs.

On a terminal the steps are drawn as they go; elsewhere each thing that happens is a line, and with --json an object.
Ctrl-C cancels the run and shows how it ends; a second Ctrl-C leaves it to itself.

Exits with 0 if the run succeeded, 1 if it failed, 11 if its deadline passed, 20 if it was cancelled (130 by Ctrl-C
here), 21 if it waits for a decision that nobody here can make, 2 if the plan cannot run.
"""
_PASSED_ON = ("parallel", "priority", "concurrency_key", "deadline")
_MEANING = {
    "destructive": "runs programs or changes files, which undo cannot take back",
    "external": "leaves this machine, or spends money",
}


def _arguments(parser: Parser) -> None:
    parser.add_argument("plan", metavar="PLAN", type=Path, help="the file, YAML or JSON")
    parser.add_argument(
        "--input", action="append", default=[], metavar="KEY=VALUE", help="an input of the plan; KEY:=JSON; repeatable"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where it works (default: the plan's folder, else here)"
    )
    parser.add_argument("--dry", action="store_true", help="resolve everything, and run only what reads")
    parser.add_argument("--detach", action="store_true", help="start it, print its id, and go")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY", help="of a fan-out, the steps to run; repeatable"
    )
    parser.add_argument("--parallel", type=int, metavar="N", help="steps that run at once")
    parser.add_argument("--name", metavar="NAME", help="what the run is called (default: as the plan, or its file)")


def _run(session: Session, arguments: Namespace) -> int:
    plan = planfile.read(arguments.plan)
    given = _given(plan, arguments)
    checked = check(session, plan, given)
    if not arguments.dry:
        _confirm(session, plan, given, checked)
        given["external"] = checked["safety"] == "external"
    started = session.call("execution.start", given, yes=True)["run"]
    return report(session, started, detach=arguments.detach)


def report(session: Session, started: dict[str, Any], *, detach: bool) -> int:
    """Print the id of a run that has begun, or follow it to its end."""
    run = str(started["id"])
    if not detach:
        return follow(session, run)
    if session.settings.json:
        session.output.json(started)
    else:
        session.output.text(run)
    session.output.note(f"follow it with: {how_to_follow(run)}")
    return 0


def _given(plan: Plan, arguments: Namespace) -> dict[str, Any]:
    """Return what `execution.start` is given."""
    content = plan.content
    given: dict[str, Any] = {
        "steps": content["steps"],
        "name": arguments.name or plan.name,
        "inputs": planfile.inputs(content.get("inputs", {}), arguments.input),
        "folder": str(_folder(plan, arguments.folder)),
        **{name: content[name] for name in _PASSED_ON if content.get(name) is not None},
    }
    if arguments.parallel is not None:
        given["parallel"] = arguments.parallel
    if arguments.dry:
        given["mode"] = "dry"
    if arguments.only:
        given["only"] = arguments.only
    return given


def _folder(plan: Plan, named: Path | None) -> Path:
    """Return where the run works: the daemon has a current directory of its own."""
    if named is not None:
        return named.expanduser().resolve()
    told = plan.content.get("folder")
    return Path.cwd() if told is None else (plan.path.expanduser().resolve().parent / str(told)).resolve()


def check(session: Session, plan: Plan, given: dict[str, Any]) -> dict[str, Any]:
    """Return what the daemon says of a plan; show every finding. Raises `Failure` if the plan cannot run."""
    asked: dict[str, Any] = {name: given[name] for name in ("steps", "inputs", "folder", "parallel") if name in given}
    try:
        checked: dict[str, Any] = session.call("execution.check", asked)
    except RemoteError as error:
        if error.kind != "invalid":
            raise
        faults = rows_of((error.data or {}).get("faults")) or [
            {"field": error.field, "message": error.message, "hint": error.hint}
        ]
        for fault in faults:
            _show(session, plan, {"severity": "error", "rule": "schema", "step": None, **fault})
        raise _refused(plan, len(faults)) from None
    findings = rows_of(checked["findings"])
    for finding in findings:
        _show(session, plan, finding)
    if not checked["ok"]:
        raise _refused(plan, sum(each["severity"] == "error" for each in findings))
    return checked


def _refused(plan: Plan, count: int) -> Failure:
    wrong = "something is" if count == 1 else f"{count} things are"
    return invalid(f"{wrong} wrong with {plan.path.name}; nothing was run", hint="mend the file, then run it again")


def _show(session: Session, plan: Plan, finding: dict[str, Any]) -> None:
    if session.settings.json:
        session.output.item({"type": "finding", **finding, "line": plan.line(finding.get("field"))})
        return
    hint = f" ({finding['hint']})" if finding.get("hint") else ""
    text = f"{plan.place(finding.get('field'))}: {finding['severity']}: {finding['message']}{hint}"
    print(clean(text), file=sys.stderr, flush=True)  # noqa: T201


def _confirm(session: Session, plan: Plan, given: dict[str, Any], checked: dict[str, Any]) -> None:
    """Have the person agree to what a plan does. Raises `Failure` if nobody does."""
    if checked["safety"] not in _MEANING or session.settings.yes:
        return
    lines = [clean(f"{plan.name} ({plan.path.name}) {_MEANING[checked['safety']]}. In {given['folder']} it runs:")]
    kinds = {str(step.get("key")): str(step.get("kind")) for step in rows_of(given["steps"])}
    lines += [
        clean(f"  {each['key']:<20}  {kinds.get(each['key'], ''):<10}  {each['safety']}") for each in checked["steps"]
    ]
    if not ask("\n".join(lines)):
        raise Failure(
            "needs_confirmation", f"nobody confirmed that {plan.path.name} may run", hint="give --yes to confirm"
        )


COMMANDS = {"run": Command(_arguments, _run, _ABOUT)}
