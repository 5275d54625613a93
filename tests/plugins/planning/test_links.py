"""Links: ends that exist, no ring by any way of writing, and the two kinds of ends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from coder_local.api import Conflict, Invalid
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.links.records import Link
from tests.plugins.planning.acceptance import failure

Call = Callable[..., Any]


@pytest.fixture
def ids(call: Call) -> list[str]:
    """Three tasks, TASK-1 to TASK-3."""
    return [call("planning.tasks.create", title=title)["id"] for title in "abc"]


def test_a_ring_is_refused_by_create_too(call: Call, ids: list[str]) -> None:
    call("planning.links.create", source=ids[0], target=ids[1], kind="blocks")
    data = failure(call, "conflict", "planning.links.create", source=ids[1], target=ids[0], kind="parent")
    assert data["cycle"][0] == data["cycle"][-1]
    assert len(call("planning.links.list")["items"]) == 1


def test_a_ring_is_refused_when_undo_would_close_it(box: Sandbox, ids: list[str]) -> None:
    box.call("planning.link", source=ids[0], target=ids[1], kind="blocks")
    box.call("planning.unlink", source=ids[0], target=ids[1], kind="blocks")
    removed = box.call("planning.links.history", id=_only_deleted(box))["items"][0]["change_set"]
    box.call("planning.link", source=ids[1], target=ids[0], kind="blocks")
    with pytest.raises(Conflict, match="ring"):
        box.undo(removed)


def _only_deleted(box: Sandbox) -> str:
    (row,) = box.snapshot().rows("SELECT id FROM planning_links WHERE deleted_at IS NOT NULL")
    return row[0]


def test_a_long_ring_is_found(box: Sandbox) -> None:
    """Beyond some hundred look-ups all links are read at once; both ways must find the same."""
    tasks = [box.call("planning.tasks.create", title=str(number))["id"] for number in range(300)]
    with box.tx() as tx:
        for source, target in pairwise(tasks):
            tx.insert(Link(source=source, target=target, kind="blocks"))
    data = failure(box.call, "conflict", "planning.link", source=tasks[-1], target=tasks[0], kind="blocks")
    assert data["ids"] == [*tasks, tasks[0]]
    box.call("planning.link", source=tasks[0], target=tasks[-1], kind="blocks")


@pytest.mark.parametrize("kind", ["blocks", "parent", "relates", "fixes"])
def test_no_record_is_linked_to_itself(call: Call, ids: list[str], kind: str) -> None:
    failure(call, "invalid", "planning.link", source=ids[0], target=ids[0], kind=kind)


def test_both_ends_must_exist_and_both_are_named(call: Call) -> None:
    with pytest.raises(Invalid) as caught:
        call("planning.links.create", source="nobody", target="nothing", kind="relates")
    assert {fault["field"] for fault in caught.value.data["faults"]} == {"/source", "/target"}
    failure(call, "not_found", "planning.link", source="TASK-8", target="TASK-9", kind="blocks")


def test_a_link_is_made_once(call: Call, ids: list[str]) -> None:
    first = call("planning.link", source="TASK-1", target="TASK-2", kind="fixes")
    assert call("planning.link", source="TASK-1", target="TASK-2", kind="fixes") == first
    failure(call, "conflict", "planning.links.create", source=ids[0], target=ids[1], kind="fixes")
    call("planning.link", source="TASK-1", target="TASK-2", kind="relates")
    failure(call, "conflict", "planning.link", source="TASK-2", target="TASK-1", kind="relates")


def test_unlink_by_key_and_either_way_for_relates(box: Sandbox, ids: list[str]) -> None:
    call = box.call
    call("planning.link", source="TASK-1", target="TASK-2", kind="relates")
    call("planning.unlink", source="TASK-2", target="TASK-1", kind="relates")
    assert [said.type for said in box.events if "link" in said.type] == [
        "planning.link.created",
        "planning.link.deleted",
    ]
    failure(call, "not_found", "planning.unlink", source="TASK-2", target="TASK-1", kind="relates")


def test_a_project_and_a_foreign_record_can_be_linked(call: Call, ids: list[str]) -> None:
    call("planning.projects.create", name="Plan", key="PLAN")
    link = call("planning.link", source="TASK-1", target="PLAN", kind="implements")
    assert (link["source_type"], link["target_type"]) == ("planning.task", "planning.project")
    note = call("planning.link", source="TASK-1", target="n1", target_type="knowledge.note", kind="relates")
    assert note["target"] == "n1"
    failure(call, "invalid", "planning.link", source="TASK-1", target="PLAN", kind="blocks")
    failure(call, "invalid", "planning.link", source="TASK-1", target="n1", target_type="note", kind="relates")


def test_a_deleted_blocker_blocks_nobody_and_undo_makes_it_block_again(box: Sandbox, ids: list[str]) -> None:
    box.call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    box.call("planning.tasks.delete", id=ids[0])
    assert [task["key"] for task in box.call("planning.ready")["items"]] == ["TASK-2", "TASK-3"]
    box.undo()
    assert [task["key"] for task in box.call("planning.ready")["items"]] == ["TASK-1", "TASK-3"]
