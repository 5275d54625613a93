"""Every door gives the same answer, and refuses with the same words."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .door import Door, Refusal, Rest

pytestmark = pytest.mark.alone

_OWN = ("id", "key", "rank", "project", "created_at", "updated_at")
"""Fields in which two records differ that were made by the same input."""


class Doors(NamedTuple):
    socket: Door
    rest: Rest
    shell: Door


@pytest.fixture(scope="module")
def doors(socket: Door, rest: Rest, shell: Door) -> Doors:
    return Doors(socket, rest, shell)


@pytest.fixture(scope="module")
def known(socket: Door) -> dict[str, str]:
    """Names of what is there, for inputs to name: a project with three tasks in a row."""
    key = "P" + uuid.uuid4().hex[:8].upper()
    project = socket.call("planning.projects.create", name="Parity", key=key)
    tasks = [
        socket.call("planning.tasks.create", title=title, project=key, estimate={"likely": 60}, tags=["one", "two"])
        for title in ("zażółć 🦊", "b", "c")
    ]
    for source, target in itertools.pairwise(tasks):
        socket.call("planning.link", source=source["key"], target=target["key"], kind="blocks")
    socket.call("planning.tasks.update", id=tasks[1]["id"], title="renamed", idempotency_key=f"{key}-key")
    ids = {f"task{number}": task["id"] for number, task in enumerate(tasks)}
    keys = {f"key{number}": task["key"] for number, task in enumerate(tasks)}
    return {"project": project["id"], "PROJECT": key, "used": f"{key}-key", **ids, **keys}


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """Return an input with `<name>` replaced by what goes by that name."""
    if isinstance(value, dict):
        return {name: filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    return known[value[1:-1]] if isinstance(value, str) and value[:1] == "<" else value


READS: list[tuple[str, dict[str, Any]]] = [
    ("planning.tasks.get", {"id": "<task0>"}),
    ("planning.tasks.list", {"project": "<project>"}),
    ("planning.tasks.list", {"project": "<project>", "limit": 2, "sort": "-rank"}),
    ("planning.tasks.list", {"q": "ŻÓŁĆ 🦊", "status": "todo"}),
    ("planning.tasks.history", {"id": "<task1>"}),
    ("planning.tasks.find", {"task": "<key1>"}),
    ("planning.projects.get", {"id": "<project>"}),
    ("planning.links.list", {"source": "<task0>"}),
    ("planning.ready", {"project": "<PROJECT>"}),
    ("planning.blocked", {"project": "<PROJECT>"}),
    ("planning.next", {"project": "<PROJECT>", "today": "2026-11-20", "minutes": 90}),
    ("planning.schedule", {"project": "<PROJECT>", "start": "2026-11-02", "holidays": ["2026-11-03", "2026-11-04"]}),
    ("planning.forecast", {"throughput": [3, 5, 2, 4, 4, 1], "remaining": 20}),
    ("planning.explain", {"record": "<key2>", "field": "blocked", "today": "2026-11-20"}),
    ("planning.export", {"project": "<PROJECT>", "format": "beads"}),
    ("changes.list", {"limit": 3}),
    ("events.list", {"types": ["planning.task.created", "planning.project.*"], "limit": 3}),
    ("operations.list", {"prefix": "planning.tasks", "with_schemas": True}),
    ("plugins.list", {}),
    ("settings.get", {}),
    ("tokens.list", {}),
    ("store.snapshots", {}),
]


@pytest.mark.parametrize(("name", "input"), READS, ids=lambda each: each if isinstance(each, str) else "")
def test_the_same_answer(doors: Doors, known: dict[str, str], name: str, input: dict[str, Any]) -> None:
    answers = [door.call(name, **filled(input, known)) for door in doors]
    assert answers[0]
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


WRITES: list[tuple[str, dict[str, Any]]] = [
    (
        "planning.tasks.create",
        {
            "title": 'quotes " \\ and a line\nend, zażółć 🦊',
            "project": "<PROJECT>",
            "estimate": {"likely": 90, "low": 60, "high": 200},
            "checklist": [{"text": "one"}, {"text": "two", "done": True}],
            "meta": {"deep": [{"a": None}, 1.5, -0.0, 2**53 - 1]},
            "due": "2027-02-28",
        },
    ),
    ("planning.tasks.create", {"title": "x", "description": "ü" * 60_000}),
    ("planning.capture", {"text": 'fix login !high #auth ~2h due 2027-01-04\n"as it is"', "project": "<PROJECT>"}),
]


@pytest.mark.parametrize(("name", "input"), WRITES, ids=["fields", "large", "captured"])
def test_the_same_record(doors: Doors, known: dict[str, str], name: str, input: dict[str, Any]) -> None:
    made = [_without_own(door.call(name, **filled(input, known))) for door in doors]
    assert made[1] == made[0]
    assert made[2] == made[0]


def _without_own(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_own(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_own(each) for name, each in value.items() if name not in _OWN}


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("invalid", "planning.tasks.create", {}),
    ("invalid", "planning.tasks.create", {"titel": "x", "priority": 5, "estimate": {"likely": "long"}, "tags": "one"}),
    ("invalid", "planning.tasks.create", {"title": "", "priority": "very"}),
    ("invalid", "planning.tasks.create", {"title": "x" * 301}),
    ("invalid", "planning.tasks.create", {"title": "x", "description": "x" * 1_000_001}),
    ("invalid", "planning.tasks.create", {"title": "nul \0"}),
    ("invalid", "planning.tasks.create", {"title": "x", "meta": {"half": "\ud800"}}),
    ("invalid", "planning.tasks.create", {"title": "x", "due": "2026-02-30"}),
    ("invalid", "planning.tasks.create", {"title": "x", "idempotency_key": "k" * 201}),
    ("invalid", "planning.tasks.update", {"id": "<task0>", "status": "done"}),
    ("invalid", "planning.tasks.update", {"id": "<task0>", "if_rev": "1"}),
    ("invalid", "planning.tasks.list", {"limit": 0}),
    ("invalid", "planning.tasks.list", {"limit": 501}),
    ("invalid", "planning.tasks.list", {"limit": "some"}),
    ("invalid", "planning.tasks.list", {"sort": "color", "colour": "red"}),
    ("invalid", "planning.tasks.list", {"cursor": "elsewhere"}),
    ("invalid", "planning.schedule", {"start": "soon"}),
    ("not_found", "planning.tasks.get", {"id": "nobody"}),
    ("invalid", "planning.tasks.get", {"id": "a/b ?#%2F+ü"}),
    ("not_found", "planning.tasks.delete", {"id": "nobody"}),
    ("not_found", "planning.tasks.finish", {"id": "nobody"}),
    ("not_found", "planning.tasks.create", {"title": "x", "project": "NOWHERE"}),
    ("not_found", "plugins.disable", {"name": "planing"}),
    ("conflict", "planning.projects.create", {"name": "x", "key": "<PROJECT>"}),
    ("conflict", "planning.link", {"source": "<key2>", "target": "<key0>", "kind": "blocks"}),
    ("conflict", "planning.tasks.update", {"id": "<task1>", "title": "other", "idempotency_key": "<used>"}),
    ("conflict", "planning.tasks.start", {"id": "<task2>"}),
    ("conflict", "plugins.disable", {"name": "daemon"}),
    ("stale", "planning.tasks.update", {"id": "<task1>", "title": "late", "if_rev": 1}),
    ("stale", "planning.tasks.delete", {"id": "<task1>", "if_rev": 1}),
    ("stale", "planning.tasks.hold", {"id": "<task1>", "reason": "late", "if_rev": 1}),
    ("refused", "planning.forecast", {"project": "<PROJECT>"}),
]


@pytest.mark.parametrize(("kind", "name", "input"), REFUSED, ids=lambda each: each if isinstance(each, str) else "")
def test_the_same_refusal(doors: Doors, known: dict[str, str], kind: str, name: str, input: dict[str, Any]) -> None:
    said = []
    for door in doors:
        with pytest.raises(Refusal) as caught:
            door.call(name, **filled(input, known))
        said.append(caught.value.said())
    assert said[0]["kind"] == kind
    assert said[1] == said[0]
    assert said[2] == said[0]


def test_an_operation_that_does_not_exist(doors: Doors) -> None:
    said = []
    for door in (doors.socket, doors.shell):
        with pytest.raises(Refusal) as caught:
            door.call("planning.tasks.creat", title="x")
        said.append(caught.value.said())
    assert said[0] == said[1]
    assert (said[0]["kind"], said[0]["hint"]) == ("not_found", "did you mean planning.tasks.create?")
    with pytest.raises(Refusal) as caught:
        doors.rest.ask("POST", "/api/planning/taks", '{"title": "x"}')
    assert (caught.value.kind, caught.value.hint) == ("not_found", "did you mean /api/planning/tasks?")


def test_one_idempotency_key_at_two_doors_is_one_record(doors: Doors) -> None:
    input = {"title": "once", "idempotency_key": uuid.uuid4().hex}
    answers = [door.call("planning.tasks.create", **input) for door in doors]
    assert answers[0] == answers[1] == answers[2]


def test_what_asks_for_a_person_asks_at_every_door(doors: Doors, known: dict[str, str], tmp_path: Path) -> None:
    input = {"format": "markdown", "project": known["PROJECT"], "path": str(tmp_path / "tasks.md"), "overwrite": True}
    said = []
    for door in doors:
        with pytest.raises(Refusal) as caught:
            door.call("planning.export_file", **input)
        said.append(caught.value.said())
    tokens = [each["data"].pop("confirm", None) for each in said]
    assert said[0] == said[1]
    # The command keeps the token to itself: a person confirms with --yes, or when it asks.
    assert tokens[2] is None
    assert (said[2]["kind"], said[2]["message"]) == ("needs_confirmation", said[0]["message"])
    assert not (tmp_path / "tasks.md").exists()

    # What was agreed to at one door may be done at another: it is the same person, and the same call.
    doors.rest.call("planning.export_file", **input, confirm=tokens[0])
    assert "renamed" in (tmp_path / "tasks.md").read_text("utf-8")
    with pytest.raises(Refusal) as caught:
        doors.socket.call("planning.export_file", **input, confirm=tokens[0])
    assert (caught.value.kind, caught.value.field) == ("needs_confirmation", "/confirm")
    assert caught.value.data["confirm"] not in tokens
    doors.socket.call("planning.export_file", **input, confirm=tokens[1])


def test_every_operation_has_a_route_of_its_own(doors: Doors) -> None:
    described = doors.rest.ask("GET", "/openapi.json", None)[1]["paths"]
    served = [each["operationId"] for path in described.values() for each in path.values() if "operationId" in each]
    names = [each["name"] for each in doors.socket.call("operations.list")["items"]]
    assert sorted(set(served) & set(names)) == names
    assert len(served) == len(set(served))
