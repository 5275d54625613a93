"""The flight recorder as text: each attempt with its intent, effect, result, duration and output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from coder_local.cli.api import clean, rows_of

from . import times

_INDENT = " " * 6


def lines(recorded: dict[str, Any], width: int) -> list[str]:
    """Return what `execution.runs.record` answered as lines of at most `width` columns."""
    found: list[str] = []
    for view in rows_of(recorded["steps"]):
        found += step_lines(view, width)
    return found


def step_lines(view: dict[str, Any], width: int) -> list[str]:
    """Return one step and its attempts, in order."""
    step: dict[str, Any] = view["step"]
    error: dict[str, Any] = step.get("error") or {}
    reason: Any = error.get("message") or step.get("reason")
    if step.get("reused_from"):
        reason = f"taken over from {step['reused_from']}"
    head = f"{step['key']}  {step['kind']}  {step['status']}{f': {reason}' if reason else ''}"
    found = [_cut(head, width)]
    for attempt in rows_of(view["attempts"]):
        found += [_cut(line, width) for line in _attempt(attempt, step)]
    return found


def _attempt(attempt: dict[str, Any], step: dict[str, Any]) -> Iterator[str]:
    facts = [
        f"  {attempt['n']}. {attempt['state']}",
        str(attempt["effect"]),
        times.length(times.between(attempt.get("started_at"), attempt.get("ended_at"))) or "no end seen",
    ]
    if attempt.get("exit_code") is not None:
        facts.append(f"exit code {attempt['exit_code']}")
    if attempt.get("signal"):
        facts.append(str(attempt["signal"]))
    if attempt.get("log_bytes"):
        facts.append(f"{times.size(int(attempt['log_bytes']))} of output")
    yield ", ".join(facts)
    yield f"{_INDENT}intent {times.clock(attempt['started_at'])}  {_json(attempt.get('input'))}"
    if attempt.get("facts"):
        yield f"{_INDENT}facts            {_json(attempt['facts'])}"
    result = _result(attempt, step)
    if attempt.get("ended_at"):
        yield f"{_INDENT}result {times.clock(attempt['ended_at'])}  {result}"


def _result(attempt: dict[str, Any], step: dict[str, Any]) -> str:
    error: dict[str, Any] = attempt.get("error") or {}
    if error:
        return f"{error.get('word')}: {error.get('message')}"
    return _json(step.get("output") if attempt["state"] == "done" else None)


def _json(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _cut(text: str, width: int) -> str:
    text = clean(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"
