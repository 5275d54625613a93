"""What cannot simply be taken back leaves a line: who called it, and what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from typing import Any

import pytest

from coder_local._admission import Admission
from coder_local._registry.principal import Principal
from coder_local._store import audit
from coder_local._store.scope import Caller
from coder_local.api import Conflict, Context, Domain, NeedsConfirmation, Safety, Transaction

from .conftest import Core

INPUT = b'{"what":"all"}'


def workshop() -> Domain:
    domain = Domain("forge")

    @domain.command("forge.melt", safety=Safety.DESTRUCTIVE)
    def melt(tx: Transaction, *, what: str) -> str:
        """Lose something for good."""
        if what == "nothing":
            raise Conflict("there is nothing to melt")
        return what

    @domain.action("forge.ship", safety=Safety.EXTERNAL)
    async def ship(ctx: Context, *, what: str) -> str:
        """Send something out."""
        return what

    @domain.command("forge.note")
    def note(tx: Transaction, *, what: str) -> str:
        """Write something that can be taken back."""
        return what

    return domain


async def lines(core: Core, **input: Any) -> list[tuple[str, str, str]]:
    """Return the lines, oldest first, once the writer has done all that came before."""
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    core.kernel.store.submit(lambda _: None, Caller(), lambda _result, _error: written.set_result(None))
    await written
    found = (await core.call("audit.list", **input))["items"]
    return [(each["actor"], each["operation"], each["outcome"]) for each in reversed(found)]


async def test_what_is_carried_out_has_a_line_before_and_one_after(disk: Core) -> None:
    assert disk.kernel.take(workshop()).loaded
    agent = disk.as_agent()
    await agent.call("forge.melt", what="all")
    await agent.call("forge.ship", what="all")
    await agent.call("forge.note", what="all")
    assert (await disk.refused("forge.melt", what="nothing")).kind == "conflict"
    assert await lines(disk) == [
        ("agent:helper", "forge.melt", "begun"),
        ("agent:helper", "forge.melt", "ok"),
        ("agent:helper", "forge.ship", "begun"),
        ("agent:helper", "forge.ship", "ok"),
        ("user", "forge.melt", "begun"),
        ("user", "forge.melt", "conflict"),
    ]
    assert await lines(disk, actor="user", operation="forge.melt", limit=1) == [("user", "forge.melt", "conflict")]
    page = await disk.call("audit.list", limit=4)
    assert len((await disk.call("audit.list", cursor=page["next_cursor"]))["items"]) == 2
    line = (await disk.call("audit.list"))["items"][-1]
    assert (line["safety"], line["workspace"], line["token"]) == ("destructive", "default", None)
    assert line["input_hash"] == hashlib.sha256(INPUT).hexdigest()


async def test_what_was_not_admitted_has_one_line_and_was_never_begun(disk: Core) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    assert disk.kernel.take(workshop()).loaded
    error = await disk.refused("forge.melt", what="all")
    assert isinstance(error, NeedsConfirmation)
    reader = Core(disk.kernel, Principal(actor="agent:reader", scopes=frozenset({Safety.READ}), owner=False))
    assert (await reader.refused("forge.ship", what="all")).kind == "refused"
    assert (await disk.as_agent().refused("daemon.stop")).kind == "refused"
    assert await lines(disk) == [
        ("user", "forge.melt", "needs_confirmation"),
        ("agent:reader", "forge.ship", "refused"),
        ("agent:helper", "daemon.stop", "refused"),
    ]


async def test_the_holder_of_a_token_for_some_domains_sees_their_lines(disk: Core) -> None:
    assert disk.kernel.take(workshop()).loaded
    await disk.call("forge.melt", what="all")
    some = Core(disk.kernel, Principal(domains=frozenset({"audit", "notes"})))
    assert await lines(some) == []
    some = Core(disk.kernel, Principal(domains=frozenset({"audit", "forge"})))
    assert len(await lines(some)) == 2


async def test_a_line_is_never_changed_and_goes_after_a_year(memory: Core) -> None:
    assert memory.kernel.take(workshop()).loaded
    await memory.call("forge.melt", what="all")
    connection = memory.kernel.store.writer.connection
    with pytest.raises(sqlite3.IntegrityError, match="not changed"):
        connection.execute("UPDATE audit SET outcome = 'ok'")
    clock: Any = memory.kernel.store.clock
    clock.advance(365 * 24 * 3600)
    assert memory.kernel.store.write(audit.trim, Caller()) == 0
    clock.advance(1)
    assert memory.kernel.store.write(audit.trim, Caller()) == 2
    assert await lines(memory) == []


TAMPERING = {
    "UPDATE audit SET actor = 'agent:a' WHERE seq = 3": "line 3 was changed",
    "UPDATE audit SET at = at + 1 WHERE seq = 6": "line 6 was changed",
    "UPDATE audit SET hash = 'x' WHERE seq = 6": "line 6 was changed",
    "DELETE FROM audit WHERE seq = 3": "the line before line 4 was changed or taken away",
    "UPDATE audit SET seq = 9 WHERE seq = 6": "line 9 was changed",
    "DELETE FROM audit WHERE seq = 6": "the lines after line 5 were taken away",
    "INSERT INTO audit SELECT 7, at, actor, token, workspace_id, operation, safety, outcome, request_id, input_hash,"
    " detail, '', '' FROM audit WHERE seq = 6": "1 lines are in no chain: they were put in by an older version, or by"
    " another program",
}


async def chained(core: Core) -> sqlite3.Connection:
    """Write six lines, and return a connection that may change them."""
    assert core.kernel.take(workshop()).loaded
    for _ in range(3):
        await core.call("forge.melt", what="all")
    assert len(await lines(core)) == 6
    connection = core.kernel.store.writer.connection
    assert list(audit.faults(connection)) == []
    return connection


@pytest.mark.parametrize("statement", TAMPERING)
async def test_a_line_that_was_changed_put_in_or_taken_away_shows(memory: Core, statement: str) -> None:
    connection = await chained(memory)
    connection.execute("DROP TRIGGER audit_is_not_changed")
    connection.execute(statement)
    assert list(audit.faults(connection)) == [TAMPERING[statement]]


async def test_the_chain_stays_whole_across_age_and_lines_of_an_older_version(memory: Core) -> None:
    connection = await chained(memory)
    clock: Any = memory.kernel.store.clock
    clock.advance(365 * 24 * 3600 + 1)
    await memory.call("forge.melt", what="more")
    assert memory.kernel.store.write(audit.trim, Caller()) == 6
    assert list(audit.faults(connection)) == []
    clock.advance(365 * 24 * 3600 + 1)
    assert memory.kernel.store.write(audit.trim, Caller()) == 2
    assert memory.kernel.store.write(audit.trim, Caller()) == 0
    await memory.call("forge.melt", what="again")
    assert [each["seq"] for each in (await memory.call("audit.list"))["items"]] == [10, 9]
    assert list(audit.faults(connection)) == []


async def test_lines_from_before_the_chain_are_no_fault(memory: Core) -> None:
    connection = memory.kernel.store.writer.connection
    connection.execute(
        "INSERT INTO audit (at, actor, workspace_id, operation, safety, outcome, request_id, input_hash)"
        " VALUES (0, 'user', 'default', 'forge.melt', 'destructive', 'ok', '', '')"
    )
    assert memory.kernel.take(workshop()).loaded
    await memory.call("forge.melt", what="all")
    assert list(audit.faults(connection)) == []
    assert (await memory.call("audit.list"))["items"][-1]["hash"] == ""


async def test_the_doctor_looks_at_the_chain(disk: Core) -> None:
    await chained(disk)
    report = await disk.call("daemon.doctor")
    assert [each["state"] for each in report["items"] if each["check"] == "audit"] == ["ok"]
    other = sqlite3.connect(disk.kernel.store.path)
    other.execute("DELETE FROM audit WHERE seq = 2")
    other.commit()
    other.close()
    report = await disk.call("daemon.doctor")
    (found,) = [each for each in report["items"] if each["check"] == "audit"]
    assert found["state"] == "warning"
    assert found["message"] == "the audit is not whole: the line before line 3 was changed or taken away"
