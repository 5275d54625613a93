"""`tokens.*`: made by the person, shown once, worthless once revoked."""

from __future__ import annotations

import pytest

from coder_local._admission.admission import Admission
from coder_local.api import Error, Safety

from .conftest import Core


async def test_the_text_of_a_token_lets_its_holder_in_with_what_was_granted(disk: Core) -> None:
    made = await disk.call(
        "tokens.create", name="CI robot", scopes=["read", "write"], domains=["notes"], limits={"burst": 5}
    )
    admission = Admission(disk.kernel)
    holder = admission.authenticate(made["token"])
    assert (holder.actor, holder.owner, holder.person) == ("agent:CI-robot", False, False)
    assert holder.scopes == {Safety.READ, Safety.WRITE}
    assert holder.domains == {"notes"}
    assert made["info"]["limits"]["burst"] == 5


async def test_the_agent_can_be_named(disk: Core) -> None:
    made = await disk.call("tokens.create", name="mine", scopes=["read"], agent="helper.2")
    assert made["info"]["actor"] == "agent:helper.2"
    error = await disk.refused("tokens.create", name="mine", scopes=["read"], agent="user:me")
    assert (error.kind, error.field) == ("invalid", "/agent")


async def test_the_text_is_kept_nowhere(disk: Core) -> None:
    text = (await disk.call("tokens.create", name="robot", scopes=["read"]))["token"]
    error = await disk.refused("tokens.create", name="robot", scopes=["read"], idempotency_key="k")
    assert error.field == "/idempotency_key"
    assert text not in str(await disk.call("tokens.list"))
    folder = disk.kernel.store.folder
    assert folder is not None
    for path in folder.glob("coder-local.db*"):
        assert text.encode() not in path.read_bytes()


async def test_a_revoked_token_is_worthless_and_stays_listed(disk: Core) -> None:
    made = await disk.call("tokens.create", name="robot", scopes=["read"])
    admission = Admission(disk.kernel)
    holder = admission.authenticate(made["token"])
    revoked = await disk.call("tokens.revoke", id=made["info"]["id"])
    assert revoked["revoked_at"] is not None
    assert not admission.holds(holder)
    with pytest.raises(Error) as caught:
        admission.authenticate(made["token"])
    assert caught.value.kind == "refused"
    assert [each["id"] for each in (await disk.call("tokens.list"))["items"]] == [made["info"]["id"]]
    assert (await disk.refused("tokens.revoke", id="none")).kind == "not_found"


async def test_a_token_without_a_scope_and_wrong_words_are_refused(memory: Core) -> None:
    for wrong, field in (
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["everything"]}, "/scopes/0"),
        ({"name": "", "scopes": ["read"]}, "/name"),
        ({"name": "x", "scopes": ["read"], "domains": ["Notes!"]}, "/domains/0"),
    ):
        assert (await memory.refused("tokens.create", **wrong)).field == field


async def test_nobody_but_the_person_makes_or_revokes_tokens(disk: Core) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    made = await disk.call("tokens.create", name="robot", scopes=list(Safety))
    robot = Core(disk.kernel, Admission(disk.kernel).authenticate(made["token"]))
    assert (await robot.refused("tokens.create", name="more", scopes=["external"])).data["rule"] == "person_only"
    assert (await robot.refused("tokens.revoke", id=made["info"]["id"])).data["rule"] == "person_only"
    assert (await disk.refused("tokens.revoke", id=made["info"]["id"])).kind == "needs_confirmation"
