"""What is written is read back the same, in every format."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from coder_plugins.planning.formats import FORMATS, MEANING_FIELDS, ForeignTask

from .strategies import TASKS

WHOLE = [name for name, entry in FORMATS.items() if entry.carries == frozenset(MEANING_FIELDS)]


def facts(tasks: list[ForeignTask]) -> set[tuple[str, str, str]]:
    """Every link of all tasks, whichever end states it."""
    found: set[tuple[str, str, str]] = set()
    for task in tasks:
        for link in task.links:
            ends = (link.target, task.id) if link.inward else (task.id, link.target)
            found.add((link.kind, *(sorted(ends) if link.kind == "relates" else ends)))
    return found


def meaning(task: ForeignTask) -> dict[str, object]:
    return {name: getattr(task, name) for name in MEANING_FIELDS if name != "links"}


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=60, deadline=None)
@given(tasks=TASKS)
def test_any_task_survives_being_written_and_read(name: str, tasks: list[ForeignTask]) -> None:
    entry = FORMATS[name]
    result = entry.parse(entry.render(tasks))
    assert result.faults == []
    assert [meaning(task) for task in result.tasks] == [meaning(task) for task in tasks]
    assert facts(result.tasks) == facts(tasks)


@pytest.mark.parametrize("name", list(FORMATS))
@settings(max_examples=60, deadline=None)
@given(tasks=TASKS)
def test_what_was_read_is_written_the_same(name: str, tasks: list[ForeignTask]) -> None:
    entry = FORMATS[name]
    text = entry.render(tasks)
    assert entry.render(entry.parse(text).tasks) == text


@settings(max_examples=60, deadline=None)
@given(tasks=TASKS)
def test_a_checklist_keeps_what_it_can_say(tasks: list[ForeignTask]) -> None:
    result = FORMATS["markdown"].parse(FORMATS["markdown"].render(tasks))
    assert result.faults == []
    assert {task.id for task in result.tasks} == {task.id for task in tasks}
    assert {task.status == "done" for task in result.tasks} == {task.status == "done" for task in tasks}
