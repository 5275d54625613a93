"""A run can do no more than whoever started it, and what its operations wrote can be taken back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coder_local._admission import Admission, tokens
from coder_local._registry.principal import Principal
from coder_local.api import NotFound, Refused, Safety
from coder_local.testing.memory import Sandbox
from coder_plugins.execution.definitions.records import Body, Definition, StepSpec
from coder_plugins.execution.rules.hashing import content_hash

from .bench import Bench, operation, step, work


def start_as(bench: Bench, caller: Sandbox, *steps: dict[str, Any]) -> str:
    return caller.call("execution.start", steps=list(steps), external=True)["run"]["id"]


async def ended(bench: Bench, id: str) -> dict[str, Any]:
    await bench.until(id)
    return bench.steps(id)


@pytest.fixture
def admission(bench: Bench) -> Admission:
    """The gate of the daemon, in place of that of the sandbox."""
    gate = Admission(bench.box.kernel)
    bench.box.kernel.dispatcher.gate = gate
    return gate


def helper(bench: Bench) -> Sandbox:
    """Return an agent that may do everything, but only in this domain; a person agreed to what it begins."""
    principal = Principal(
        actor="agent:helper", owner=False, domains=frozenset({"execution"}), confirmed=frozenset({Safety.DESTRUCTIVE})
    )
    return Sandbox(bench.box.kernel, principal, shares=bench.box)


async def test_what_an_operation_wrote_bears_the_name_of_who_started_the_run(bench: Bench) -> None:
    agent = bench.box.as_agent("helper")
    await ended(bench, start_as(bench, agent, operation("a", "world.add", text="x")))
    assert [each["origin"] for each in bench.call("world.things.list")["items"]] == ["agent:helper"]


async def test_an_agent_reaches_only_its_domains(bench: Bench, admission: Admission) -> None:
    agent = helper(bench)
    found = await ended(bench, start_as(bench, agent, operation("a", "world.add", text="x"), work("b", "a")))
    assert found["a"]["error"]["word"] == "refused"
    assert (found["b"]["status"], bench.world.calls) == ("skipped", [])


async def test_an_agent_without_a_word_cannot_have_a_run_say_it(bench: Bench, admission: Admission) -> None:
    rights = Principal(
        actor="agent:helper", owner=False, scopes=frozenset({Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE}),
        confirmed=frozenset({Safety.DESTRUCTIVE}),
    )  # fmt: skip
    agent = Sandbox(bench.box.kernel, rights, shares=bench.box)
    steps = [operation("ok", "world.burn"), operation("bad", "world.send", text="x")]
    found = await ended(bench, start_as(bench, agent, *steps))
    assert found["ok"]["status"] == "succeeded"
    assert found["bad"]["error"]["word"] == "refused"
    assert bench.world.calls == ["burn"]


async def test_an_agent_that_may_only_read_starts_nothing(bench: Bench, admission: Admission) -> None:
    agent = bench.box.as_caller(actor="agent:helper", owner=False, scopes=frozenset({Safety.READ}))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the kind is what matters
        start_as(bench, agent, operation("a", "world.add", text="x"))
    assert getattr(caught.value, "kind", None) == "refused"
    assert bench.rows("runs") == 0


async def test_a_run_whose_token_was_revoked_goes_no_further(bench: Bench, admission: Admission) -> None:
    store = bench.box.kernel.store
    token = store.write(lambda scope: tokens.create(scope, name="t", scopes=list(Safety))).info.id
    principal = Principal(actor="agent:t", owner=False, token=token, confirmed=frozenset(Safety))
    agent = Sandbox(bench.box.kernel, principal, shares=bench.box)
    id = start_as(
        bench, agent, operation("a", "world.add", text="x"), step("go", "signal", {"name": "go"}, needs=["a"]),
        operation("b", "world.add", "go", text="y"), operation("c", "world.send", "go", text="z"),
    )  # fmt: skip
    await bench.until(id, "waiting")
    store.write(lambda scope: tokens.revoke(scope, token))
    bench.call("execution.runs.signal", id=id, name="go")
    found = await ended(bench, id)
    assert found["b"]["error"]["word"] == found["c"]["error"]["word"] == "refused"
    assert "revoked" in found["b"]["error"]["message"]
    assert bench.world.calls == ["x"]


async def test_the_rights_survive_a_crash(bench: Bench, admission: Admission) -> None:
    agent = helper(bench)
    id = start_as(bench, agent, step("go", "signal", {"name": "go"}), operation("a", "world.add", "go", text="x"))
    await bench.crash()
    bench.call("execution.runs.signal", id=id, name="go")
    await bench.restart()
    assert (await ended(bench, id))["a"]["error"]["word"] == "refused"


async def test_a_retry_has_the_rights_of_who_asks_for_it(bench: Bench) -> None:
    id = await bench.finish(operation("a", "world.add", text="x", fails=True))
    bench.box.kernel.dispatcher.gate = Admission(bench.box.kernel)
    agent = helper(bench)
    again = agent.call("execution.runs.retry", id=id)["run"]["id"]
    assert (await ended(bench, again))["a"]["error"]["word"] == "refused"
    assert bench.world.calls == ["x"]


async def test_runs_are_listed_in_their_workspace(bench: Bench) -> None:
    await bench.finish(work("a"))
    other = bench.box.as_caller(workspace="other", actor="agent:x", owner=False)
    for name in ("runs", "steps", "attempts", "waits", "artifacts"):
        assert other.call(f"execution.{name}.list")["items"] == []


# -- undo -------------------------------------------------------------------------------------------------------------


async def test_undo_takes_back_what_an_operation_wrote_and_nothing_of_the_run(bench: Bench) -> None:
    id = await bench.finish(operation("a", "world.add", text="x"), operation("b", "world.add", "a", text="y"))
    before = bench.call("execution.runs.record", id=id)
    assert len(bench.box.undo()) == 1
    assert [each["text"] for each in bench.call("world.things.list")["items"]] == ["x"]
    bench.box.undo()
    assert bench.call("world.things.list")["items"] == []
    with pytest.raises(NotFound):
        bench.box.undo()
    assert bench.call("execution.runs.record", id=id) == before


async def test_each_operation_is_a_change_of_its_own_under_the_name_of_its_run(bench: Bench) -> None:
    await bench.finish(operation("a", "world.add", text="x"))
    store, caller = bench.box.kernel.store, bench.box._caller()
    rows = store.read(lambda read: read.connection.execute("SELECT DISTINCT operation FROM change").fetchall(), caller)
    assert len(rows) == 1
    assert rows[0][0].startswith("execution.step:")


# -- steps that are no operations -------------------------------------------------------------------------------------


async def test_an_agent_without_a_word_has_no_step_of_any_kind_do_it(bench: Bench, admission: Admission) -> None:
    rights = Principal(
        actor="agent:helper", owner=False, scopes=frozenset({Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE}),
        confirmed=frozenset({Safety.DESTRUCTIVE}),
    )  # fmt: skip
    agent = Sandbox(bench.box.kernel, rights, shares=bench.box)
    found = await ended(bench, start_as(bench, agent, work("ok", harm="destructive"), work("bad", harm="external")))
    assert found["ok"]["status"] == "succeeded"
    assert found["bad"]["error"]["word"] == "refused"
    assert bench.world.begun == ["ok"]


async def test_a_token_that_was_revoked_does_no_work(bench: Bench, admission: Admission) -> None:
    store = bench.box.kernel.store
    token = store.write(lambda scope: tokens.create(scope, name="t", scopes=list(Safety))).info.id
    principal = Principal(actor="agent:t", owner=False, token=token, confirmed=frozenset(Safety))
    agent = Sandbox(bench.box.kernel, principal, shares=bench.box)
    id = start_as(bench, agent, step("go", "signal", {"name": "go"}), work("a", "go"))
    store.write(lambda scope: tokens.revoke(scope, token))
    bench.call("execution.runs.signal", id=id, name="go")
    found = await ended(bench, id)
    assert "revoked" in found["a"]["error"]["message"]
    assert bench.world.begun == []


async def test_a_run_of_a_person_does_not_do_what_only_a_person_may(bench: Bench) -> None:
    body = Body(steps=[msgspec.convert(operation("o", "world.sign"), StepSpec)], parallel=1)
    made = content_hash(body)
    store = bench.box.kernel.store
    store.write(lambda scope: scope.insert(Definition(id=made, body=body)), bench.box._caller())
    id = bench.start(step("s", "sub_run", {"definition": made}))
    await bench.until(id)
    child = bench.run(bench.steps(id)["s"]["error"]["data"]["run"])
    assert child["error"]["word"] == "refused"
    assert bench.world.calls == []


# -- what a start agrees to -------------------------------------------------------------------------------------------


async def test_what_leaves_this_machine_is_agreed_to_in_words(bench: Bench) -> None:
    """The operation is declared destructive, and no more is agreed to unless its input, which is confirmed, says so."""
    steps = [operation("ok", "world.burn"), operation("out", "world.send", text="x")]
    error = bench.refused(*steps, external=False)
    assert isinstance(error, Refused)
    assert (error.field, error.data["steps"]) == ("/external", ["out"])
    id = bench.start(operation("ok", "world.burn"), external=False)
    await bench.until(id)
    assert bench.run(id)["rights"]["confirmed"] == ["destructive"]
    with pytest.raises(Refused):
        bench.call("execution.runs.retry", id=id, definition="latest", steps=steps)
    again = bench.call("execution.runs.retry", id=id, definition="latest", steps=steps, external=True)["run"]["id"]
    await bench.until(again)
    assert bench.world.calls == ["burn", "x"]
    with pytest.raises(Refused):
        bench.call("execution.runs.rewind", id=again, step="out")
    assert bench.status(await bench.finish(*steps, external=False, mode="dry")) == "succeeded"


async def test_what_turns_out_to_leave_this_machine_is_refused_when_it_begins(bench: Bench) -> None:
    steps = [work("a", output="external"), work("b", "a", harm="${{ steps.a.output }}")]
    id = await bench.finish(*steps, external=False)
    assert bench.world.begun == ["a"]
    error = bench.steps(id)["b"]["error"]
    assert (error["word"], "external" in error["message"]) == ("refused", True)
    assert bench.status(await bench.finish(*steps)) == "succeeded"
