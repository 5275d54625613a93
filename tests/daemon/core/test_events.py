"""`events.list`: the event log by page."""

from __future__ import annotations

from coder_local._registry.principal import Principal

from .conftest import Core


async def test_events_after_a_cursor_come_oldest_first_until_the_head(notes: Core) -> None:
    start = (await notes.call("events.list"))["head"]
    ids = [(await notes.call("notes.create", workspace="w", title=str(number)))["id"] for number in range(5)]
    seen: list[str] = []
    cursor = start
    while True:
        page = await notes.call("events.list", cursor=cursor, limit=2)
        seen += [each["data"]["id"] for each in page["items"]]
        cursor = page["cursor"]
        if cursor == page["head"]:
            break
    assert seen == ids
    again = await notes.call("events.list", cursor=cursor)
    assert (again["items"], again["cursor"], again["reset"]) == ([], cursor, None)


async def test_without_a_cursor_the_newest_come_oldest_first(notes: Core) -> None:
    for number in range(4):
        await notes.call("notes.create", workspace="w", title=str(number))
    page = await notes.call("events.list", limit=2)
    numbers = [each["sequence"] for each in page["items"]]
    assert numbers == sorted(numbers)
    assert page["items"][-1]["id"] == page["cursor"] == page["head"]


async def test_types_are_exact_or_end_in_a_star(notes: Core) -> None:
    note = await notes.call("notes.create", workspace="w", title="a")
    await notes.call("notes.pin", id=note["id"])

    async def types(*wanted: str) -> list[str]:
        return [each["type"] for each in (await notes.call("events.list", types=wanted))["items"]]

    assert await types("notes.note.pinned") == ["notes.note.pinned"]
    assert await types("notes.*") == ["notes.note.created", "notes.note.updated", "notes.note.pinned"]
    assert await types("notes.note.pinned", "plugins.*") == ["plugins.plugin.changed", "notes.note.pinned"]
    assert await types("notes.note") == []
    assert await types("%", "notes_note*") == []


async def test_a_filter_that_finds_nothing_still_moves_the_cursor(notes: Core) -> None:
    start = (await notes.call("events.list"))["head"]
    await notes.call("notes.create", workspace="w", title="a")
    page = await notes.call("events.list", cursor=start, types=["none.*"])
    assert page["items"] == []
    assert page["cursor"] == page["head"] != start


async def test_a_cursor_that_cannot_be_served_says_why_and_where_to_go_on(notes: Core) -> None:
    head = (await notes.call("events.list"))["head"]
    epoch, number = head.split(":")
    for cursor, reason in ((f"other:{number}", "other_epoch"), (f"{epoch}:{int(number) + 1}", "ahead")):
        page = await notes.call("events.list", cursor=cursor)
        assert (page["reset"], page["items"], page["cursor"]) == (reason, [], head)
    error = await notes.refused("events.list", cursor="yesterday")
    assert (error.kind, error.field) == ("invalid", "/cursor")


async def test_a_cursor_before_what_was_trimmed_is_too_old(notes: Core) -> None:
    start = (await notes.call("events.list"))["head"]
    for number in range(3):
        await notes.call("notes.create", workspace="w", title=str(number))
    connection = notes.kernel.store.writer.connection
    connection.execute("DELETE FROM event WHERE seq <= 3")
    connection.execute("INSERT INTO store_meta (name, value) VALUES ('event_low', '3')")
    assert (await notes.call("events.list", cursor=start))["reset"] == "too_old"


async def test_a_token_for_some_domains_is_told_of_their_events_alone(notes: Core) -> None:
    start = (await notes.call("events.list"))["head"]
    await notes.call("notes.create", workspace="w", title="private")
    for domains, told in (({"events"}, []), ({"events", "note"}, []), ({"events", "notes"}, ["notes.note.created"])):
        caller = Core(notes.kernel, Principal(owner=False, domains=frozenset(domains)))
        assert [each["type"] for each in (await caller.call("events.list"))["items"]][-1:] == told
        after = await caller.call("events.list", cursor=start, types=["notes.*"])
        assert [each["type"] for each in after["items"]] == told
