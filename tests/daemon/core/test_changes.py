"""`changes.*`: history of everything, and undo."""

from __future__ import annotations

from coder_local._daemon.core.changes import declare
from coder_local._registry.principal import Principal
from coder_local._store.changes import UNDO

from .conftest import Core


async def test_changes_are_listed_newest_first_and_by_page(notes: Core) -> None:
    ids = [(await notes.call("notes.create", workspace="w", title=str(number)))["id"] for number in range(3)]
    first = await notes.call("changes.list", limit=2)
    assert [each["id"] for each in first["items"]] == [ids[2], ids[1]]
    rest = await notes.call("changes.list", limit=2, cursor=first["next_cursor"])
    assert [each["id"] for each in rest["items"]] == [ids[0]]
    assert rest["next_cursor"] is None
    assert rest["items"][0]["operation"] == "notes.create"


async def test_a_made_up_cursor_is_refused(memory: Core) -> None:
    error = await memory.refused("changes.list", cursor="²")
    assert (error.kind, error.field) == ("invalid", "/cursor")


async def test_undo_takes_the_last_command_back_and_an_undo_can_be_undone(notes: Core) -> None:
    note = await notes.call("notes.create", workspace="w", title="before")
    await notes.call("notes.update", id=note["id"], title="after")
    undone = await notes.call("changes.undo")
    assert [(each["id"], each["fields"][0]["before"]) for each in undone["undone"]] == [(note["id"], "before")]
    assert (await notes.call("notes.get", id=note["id"]))["title"] == "before"
    newest = (await notes.call("changes.list", limit=1))["items"][0]
    assert newest["operation"] == "changes.undo"
    await notes.call("changes.undo", change_set=newest["change_set"])
    assert (await notes.call("notes.get", id=note["id"]))["title"] == "after"


async def test_each_workspace_lists_and_undoes_its_own(notes: Core) -> None:
    here, there = Core(notes.kernel, Principal(workspace="w1")), Core(notes.kernel, Principal(workspace="w2"))
    kept = await here.call("notes.create", workspace="w", title="here")
    await there.call("notes.create", workspace="w", title="there")
    assert [each["id"] for each in (await here.call("changes.list"))["items"]] == [kept["id"]]
    assert (await there.call("changes.undo"))["undone"][0]["id"] != kept["id"]
    assert (await there.refused("changes.undo")).kind == "not_found"
    assert (await notes.call("changes.list"))["items"] == []
    assert (await notes.refused("changes.undo")).kind == "not_found"
    assert (await here.call("changes.undo"))["undone"][0]["id"] == kept["id"]


async def test_a_token_for_some_domains_sees_and_undoes_nothing_of_others(notes: Core) -> None:
    await notes.call("notes.create", workspace="w", title="private")
    change_set = (await notes.call("changes.list"))["items"][0]["change_set"]
    blind = Core(notes.kernel, Principal(owner=False, domains=frozenset({"changes"})))
    assert await blind.call("changes.list") == {"items": [], "next_cursor": None}
    for input in ({}, {"change_set": change_set}):
        error = await blind.refused("changes.undo", **input)
        assert (error.kind, error.data["rule"]) == ("refused", "domain")
    seeing = Core(notes.kernel, Principal(owner=False, domains=frozenset({"changes", "notes"})))
    assert [each["change_set"] for each in (await seeing.call("changes.list"))["items"]] == [change_set]
    assert (await seeing.call("changes.undo"))["count"] == 1


async def test_undo_names_what_was_changed_again_since(notes: Core) -> None:
    note = await notes.call("notes.create", workspace="w", title="one")
    await notes.call("notes.update", id=note["id"], title="two")
    change_set = (await notes.call("changes.list", limit=1))["items"][0]["change_set"]
    await notes.call("notes.update", id=note["id"], title="three")
    error = await notes.refused("changes.undo", change_set=change_set)
    assert error.kind == "conflict"
    assert error.data["against"][0]["field"] == "title"
    assert (await notes.call("notes.get", id=note["id"]))["title"] == "three"


async def test_nothing_to_undo_and_an_unknown_change_set_are_not_found(memory: Core) -> None:
    assert (await memory.refused("changes.undo")).kind == "not_found"
    assert (await memory.refused("changes.undo", change_set=7)).field == "/change_set"
    error = await memory.refused("changes.undo", change_set=2**70)
    assert (error.kind, error.field) == ("invalid", "/change_set")


async def test_an_agent_takes_back_only_what_it_wrote(notes: Core) -> None:
    agent = notes.as_agent()
    await notes.call("notes.create", workspace="w", title="the person's")
    persons = (await notes.call("changes.list", limit=1))["items"][0]["change_set"]
    own = await agent.call("notes.create", workspace="w", title="the agent's")
    error = await agent.refused("changes.undo", change_set=persons)
    assert (error.kind, error.data["rule"]) == ("refused", "own_changes")
    assert (await agent.call("changes.undo"))["undone"][0]["id"] == own["id"]
    assert [each["title"] for each in (await notes.call("notes.list"))["items"]] == ["the person's"]


def test_history_knows_the_operation_by_its_wire_name() -> None:
    assert UNDO in declare().operations
