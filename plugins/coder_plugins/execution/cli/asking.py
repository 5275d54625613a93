"""Decisions that a run waits for: shown whole, and made at the terminal by the person who sits there."""

from __future__ import annotations

import json
import sys
from typing import Any

from coder_local.cli.api import Failure, Session, clean, is_terminal, rows_of

CHOICES = ("approve", "reject")
_MEANING = {"retry": "do it again", "done": "it was done", "skip": "leave it out", "fail": "take it for failed"}


def is_there(session: Session) -> bool:
    """Tell whether somebody can be asked: a person at a terminal, who did not ask for JSON."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout) and not session.settings.json


def open_waits(session: Session, run: str) -> list[dict[str, Any]]:
    """Return what a run waits for a person to decide."""
    view = session.call("execution.runs.get", {"id": run, "limit": 1})
    return [each for each in rows_of(view["waits"]) if each["kind"] in {"approval", "decision"}]


def shown(wait: dict[str, Any]) -> str:
    """Return what a person must see before deciding."""
    lines = [f"{wait['key']}: {clean(str(wait.get('prompt') or 'a decision is needed'), keep_lines=True)}"]
    what = wait.get("shown")
    if what is not None:
        text = what if isinstance(what, str) else json.dumps(what, ensure_ascii=False, indent=2)
        lines += [f"    {clean(line)}" for line in text.split("\n")]
    return "\n".join(lines)


def how(wait: dict[str, Any]) -> str:
    """Return the command by which a wait is decided elsewhere."""
    if wait["kind"] == "decision":
        return f"coder-local runs resume {wait['run']} {wait['key']} retry|done|skip|fail"
    return f"coder-local runs approve {wait['id']}"


def ask(wait: dict[str, Any]) -> str | None:
    """Ask the person at the terminal, and return the choice; None to leave it to somebody else, or to later."""
    choices = [str(each) for each in wait["choices"]]
    simple = wait["kind"] == "approval" and set(choices) == set(CHOICES)
    print(f"\n{shown(wait)}")  # noqa: T201
    question = "Approve? [y]es, [n]o, [l]ater: " if simple else f"{_offered(choices)}, or later: "
    while True:
        print(question, end="", flush=True)  # noqa: T201
        answer = sys.stdin.readline()
        word = answer.strip().lower()
        if not answer or word in {"l", "later"}:
            return None
        if simple:
            word = {"y": "approve", "yes": "approve", "n": "reject", "no": "reject"}.get(word, word)
        named = {choice.lower(): choice for choice in choices}
        if word in named:
            return named[word]


def _offered(choices: list[str]) -> str:
    return ", ".join(f"{each} ({_MEANING[each]})" if each in _MEANING else each for each in choices)


def decide(session: Session, wait: dict[str, Any], choice: str, payload: Any = None) -> dict[str, Any]:
    """Carry a decision out, bound to what was shown; return the run after it."""
    if wait["kind"] == "decision":
        asked = {"id": wait["run"], "step": wait["key"], "choice": choice, "output": payload}
        return dict(session.call("execution.runs.resume", asked, yes=True)["run"])
    given = {"id": wait["id"], "shown_hash": wait.get("shown_hash")}
    if payload is not None:
        given["payload"] = payload
    if choice == "reject":
        return dict(session.call("execution.approvals.reject", given, yes=True)["run"])
    return dict(session.call("execution.approvals.approve", {**given, "choice": choice}, yes=True)["run"])


def the_one(waits: list[dict[str, Any]], run: str, step: str | None) -> dict[str, Any]:
    """Return the wait that is meant. Raises `Failure` if there is none, or more than one."""
    found = [each for each in waits if step in {None, each["key"]}]
    if not found:
        raise Failure("conflict", f"nothing of run {run} waits for a decision", hint=f"see coder-local runs show {run}")
    if len(found) > 1:
        keys = ", ".join(str(each["key"]) for each in found)
        raise Failure("invalid", f"several steps wait for a decision: {keys}", hint="name one with --step")
    return found[0]
