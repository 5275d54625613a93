"""A plan's steps as execution takes them, and execution's pointers as a plan's."""

from __future__ import annotations

from typing import Any

from coder_plugins.planning.plans.records import Content, PlanStep

OWN = frozenset({"key", "kind", "title", "input", "needs"})
"""Fields of execution's steps that a plan's steps have themselves; all others are `options`."""
SOURCE = "planning.plan/"
"""What the `source_ref` of a plan's runs begins with."""


def source_ref(plan: str, version: int) -> str:
    """Return what a live run of a version is known by."""
    return f"{SOURCE}{plan}@{version}"


def parse_source(text: str | None) -> tuple[str, int] | None:
    """Return plan and version of a live run's `source_ref`; None for any other, that of a dry run too."""
    if text is None or not text.startswith(SOURCE):
        return None
    plan, _, version = text.removeprefix(SOURCE).rpartition("@")
    return (plan, int(version)) if plan and version.isdecimal() else None


def request(content: Content) -> dict[str, Any]:
    """Return the content as input of `execution.check` and `execution.start`."""
    given: dict[str, Any] = {
        "steps": [_step(step) for step in content.steps],
        "inputs": content.inputs,
        "parallel": content.parallel,
    }
    return given if content.folder is None else {**given, "folder": content.folder}


def pointer(field: str, content: Content) -> str:
    """Return where in the content of a plan something stands that execution points to."""
    words = field.split("/")
    if len(words) < 4 or words[1] != "steps" or not words[2].isdecimal() or int(words[2]) >= len(content.steps):
        return field
    own, name, rest = words[:3], words[3], words[4:]
    if name == "input" and rest and content.steps[int(words[2])].operation is not None:
        return "/".join([*own, *rest])  # one `input` less: the operation and its input stand side by side in a plan
    return "/".join([*own, name, *rest] if name in OWN else [*own, "options", name, *rest])


def step_at(field: str, content: Content) -> str | None:
    """Return the key of the step that a pointer leads into."""
    words = field.split("/")
    inside = len(words) > 2 and words[1] == "steps" and words[2].isdecimal() and int(words[2]) < len(content.steps)
    return content.steps[int(words[2])].key if inside else None


def _step(step: PlanStep) -> dict[str, Any]:
    given = step.input if step.operation is None else {"operation": step.operation, "input": step.input}
    made = {**step.options, "key": step.key, "kind": step.kind, "input": given, "needs": step.needs}
    return made if step.title is None else {**made, "title": step.title}
