"""`operations.list` describes everything that can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coder_local.api import Domain, Snapshot

from .conftest import Core


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


async def test_every_operation_is_described_with_schemas_that_are_complete_in_themselves(memory: Core) -> None:
    items = (await memory.call("operations.list"))["items"]
    assert [each["name"] for each in items] == memory.kernel.registry.names()
    for each in items:
        assert each["summary"].endswith("."), each["name"]
        assert each["description"].startswith(each["summary"][:30])
        assert each["input"]["additionalProperties"] is False
        assert each["output"]
        assert all(ref.startswith("#/$defs/") for ref in references([each["input"], each["output"]])), each["name"]


async def test_a_prefix_and_no_schemas_make_the_list_short(memory: Core) -> None:
    items = (await memory.call("operations.list", prefix="changes.", with_schemas=False))["items"]
    assert [each["name"] for each in items] == ["changes.list", "changes.undo"]
    assert {each["input"] for each in items} == {None}


async def test_the_schema_says_limits_defaults_and_who_may_call(memory: Core) -> None:
    items = {each["name"]: each for each in (await memory.call("operations.list"))["items"]}
    limit = items["changes.list"]["input"]["properties"]["limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 500, 50)
    assert (items["plugins.enable"]["safety"], items["plugins.enable"]["person_only"]) == ("destructive", True)
    assert (items["changes.undo"]["kind"], items["changes.undo"]["safety"]) == ("command", "write")


async def test_the_list_follows_plugins_that_come_and_go(notes: Core) -> None:
    listed = (await notes.call("operations.list", prefix="notes."))["items"]
    assert "notes.pin" in {each["name"] for each in listed}
    assert next(each for each in listed if each["name"] == "notes.pin")["input"]["required"] == ["id"]
    await notes.call("plugins.disable", name="notes")
    assert (await notes.call("operations.list", prefix="notes."))["items"] == []


class Odd:
    """JSON has nothing like it."""


@pytest.mark.filterwarnings("default")
async def test_a_plugin_that_cannot_be_described_does_not_take_the_list_away(memory: Core) -> None:
    domain = Domain("odd")

    @domain.query("odd.answer")
    def answer(read: Snapshot) -> Odd:
        """Answer with what JSON has not."""
        return Odd()

    @domain.query("odd.untyped")
    def untyped(read: Snapshot):
        """Answer with who knows what."""

    memory.kernel.take(domain)
    items = {each["name"]: each for each in (await memory.call("operations.list"))["items"]}
    assert items["odd.answer"]["summary"] == "Answer with what JSON has not."
    assert "odd.untyped" not in items
    assert "changes.undo" in items


async def test_an_operation_that_cannot_be_called_is_named_with_its_reason(memory: Core) -> None:
    domain = Domain("odd")

    @domain.query("odd.good")
    def good(read: Snapshot) -> int:
        """Answer."""
        return 1

    @domain.query("odd.untyped")
    def untyped(read: Snapshot):
        """Answer with who knows what."""

    @domain.query("odd.lost")
    def lost(read: Snapshot) -> Path.nowhere:  # type: ignore  # noqa: PGH003, F821
        """Answer with what is not there."""

    memory.kernel.take(domain)
    plugin = await memory.plugin("odd")
    assert (plugin["status"], plugin["operations"]) == ("loaded", 1)
    first, second = plugin["reason"].split("; ")[0], plugin["reason"].partition("odd.untyped")[2]
    assert first.startswith("odd.lost: ")
    assert second == ": it needs a return type; it is the schema of its answer"
    report = await memory.call("daemon.doctor")
    named = [each["message"] for each in report["items"] if each["check"] == "plugins"]
    assert len(named) == 2
    assert (
        named[1] == "an operation cannot be called: odd.untyped: it needs a return type; it is the schema of its answer"
    )
    assert not report["healthy"]
