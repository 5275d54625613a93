"""Dispatch on a real loop, with the writer and the reader on their threads: every call has one answer, in time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coder_local._registry import dispatch
from coder_local._registry.dispatch import Call
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status
from coder_local._registry.principal import OWNER
from coder_local.api import Error, Invalid, Unsupported

from .probe import Asked, Probe

# -- deadlines --------------------------------------------------------------------------------------------------------


async def test_a_query_past_its_deadline_is_interrupted_and_the_next_one_is_answered(probe: Probe) -> None:
    late, following = probe.ask("probe.late"), probe.ask("probe.ask", mode="ok")
    error = await late.error()
    assert (error.kind, error.message) == ("timeout", "probe.late took longer than 0.1 s and was stopped")
    assert await following.answer() == "ok"


async def test_an_action_past_its_deadline_is_cancelled(probe: Probe) -> None:
    error = await probe.ask("probe.act_late").error()
    assert (error.kind, error.message) == ("timeout", "probe.act_late took longer than 0.1 s and was stopped")
    assert probe.ended == ["act_late"]
    await asyncio.sleep(0)
    assert probe.kernel.dispatcher.busy == 0


async def test_a_time_out_of_the_plugin_s_own_is_its_fault_and_no_deadline(probe: Probe) -> None:
    assert (await probe.ask("probe.act", mode="timeout").error()).kind == "broken"


async def test_a_command_that_waits_behind_a_long_one_gets_its_timeout(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_SWEEP", 0.01)
    holding = probe.ask("probe.hold")
    await asyncio.to_thread(probe.held.wait, 10)
    waiting, patient = probe.ask("probe.do"), probe.ask("other.set", number=1)
    now = time.monotonic()
    monkeypatch.setattr(
        dispatch.time, "monotonic", lambda: now + 5.2
    )  # over the 0.1 s of the one, not the 10 s of the other
    probe.kernel.dispatcher.sweep()
    error = await waiting.error()
    assert (error.kind, error.message) == ("timeout", "probe.do waits for another command; it may still be carried out")
    assert not holding.answers
    assert not patient.answers
    probe.release.set()
    assert await holding.answer() == "held"
    assert await patient.answer() == 1
    assert probe.ran == []  # it was not begun, so it was not carried out
    assert len(waiting.answers) == 1


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_query_is_interrupted(probe: Probe) -> None:
    running, waiting = probe.ask("probe.endless"), probe.ask("probe.endless")
    assert running.cancel is not None
    assert waiting.cancel is not None
    waiting.cancel()
    running.cancel()
    for each in (running, waiting):
        error = await each.error()
        assert (error.kind, error.data) == ("timeout", {"cancelled": True})


async def test_a_command_that_is_cancelled_while_it_waits_does_not_run(probe: Probe) -> None:
    holding = probe.ask("probe.hold")
    await asyncio.to_thread(probe.held.wait, 10)
    waiting = probe.ask("probe.do")
    assert waiting.cancel is not None
    waiting.cancel()
    probe.release.set()
    error = await waiting.error()
    assert (error.kind, error.data) == ("timeout", {"cancelled": True})
    assert await holding.answer() == "held"
    assert probe.ran == []


async def test_a_command_that_has_begun_comes_to_its_end_though_it_is_cancelled(probe: Probe) -> None:
    holding = probe.ask("probe.hold")
    await asyncio.to_thread(probe.held.wait, 10)
    assert holding.cancel is not None
    holding.cancel()
    probe.release.set()
    assert await holding.answer() == "held"


async def test_an_action_is_cancelled_where_it_waits(probe: Probe) -> None:
    acting = probe.ask("probe.act", mode="wait")
    await probe.began.wait()
    assert acting.cancel is not None
    acting.cancel()
    assert (await acting.error()).data == {"cancelled": True}
    assert probe.ended == ["act"]


@pytest.mark.parametrize("name", ["probe.act", "probe.follow"])
async def test_what_is_cancelled_before_it_began_is_answered_too(probe: Probe, name: str) -> None:
    asked = probe.ask(name, mode="ok")
    assert asked.cancel is not None
    asked.cancel()  # in the same turn of the loop, as when call and cancellation come in one packet
    assert (await asked.error()).data == {"cancelled": True}
    assert probe.ended == []
    assert probe.kernel.dispatcher.busy == 0


async def test_a_stream_is_closed_when_its_caller_leaves(probe: Probe) -> None:
    asked = probe.ask("probe.follow", mode="wait")
    await probe.began.wait()
    assert asked.items == [0, 1, 2]
    assert not asked.answers
    assert asked.cancel is not None
    asked.cancel()
    assert (await asked.error()).data == {"cancelled": True}
    assert probe.ended == ["follow", "closed"]


async def test_a_stream_waits_for_a_caller_that_does_not_read(probe: Probe) -> None:
    asked, read = Asked(), asyncio.get_running_loop().create_future()
    taken: list[bytes] = []

    def take(item: bytes) -> asyncio.Future[None]:
        taken.append(item)
        return read

    call = Call("probe.follow", b'{"mode": "ok"}', OWNER, asked.take, item=take)
    probe.kernel.dispatcher.start(call)
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == [b"0"]
    read.set_result(None)
    assert await asked.answer() is None
    assert taken == [b"0", b"1", b"2"]


async def test_stopping_ends_actions_and_streams_and_answers_them(probe: Probe) -> None:
    acting, following = probe.ask("probe.act", mode="wait"), probe.ask("probe.follow", mode="wait")
    await probe.began.wait()
    await probe.kernel.dispatcher.stop_tasks()
    assert (await acting.error()).kind == (await following.error()).kind == "timeout"
    assert probe.kernel.dispatcher.busy == 0


async def test_nothing_new_is_taken_while_it_stops(probe: Probe) -> None:
    probe.kernel.dispatcher.closing = True
    for name in ("probe.ask", "probe.do", "probe.act", "probe.follow"):
        assert (await probe.ask(name, mode="ok").error()).kind == "locked"
    assert probe.ran == []


# -- each call has one answer -----------------------------------------------------------------------------------------

OPERATIONS = ("probe.ask", "probe.do", "probe.act", "probe.follow", "probe.relay_action", "probe.nothing")
MODES = ("ok", "refuse", "fault", "timeout", "wait")
CALLS = st.tuples(st.sampled_from(OPERATIONS), st.sampled_from(MODES), st.sampled_from((None, 0, 1, 2, 5)))


def waits(name: str, mode: str) -> bool:
    """Tell whether a call ends only when it is cancelled."""
    return mode == "wait" and name in {"probe.act", "probe.follow", "probe.relay_action"}


def allowed(name: str, mode: str, *, cancelled: bool) -> set[str]:
    """Return what a call may be answered: `ok` or kinds of errors."""
    if name == "probe.nothing":
        return {"not_found"}
    if waits(name, mode):
        return {"timeout"}
    answer = {"refuse": "conflict", "fault": "broken", "timeout": "broken"}.get(mode, "ok")
    return {answer, "timeout"} if cancelled else {answer}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, min_size=1, max_size=25), closing=st.sampled_from((None, 0, 3)))
def test_each_call_is_answered_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, str, int | None]], closing: int | None
) -> None:
    asyncio.run(_answer_all(tmp_path_factory.mktemp("store"), calls, closing))


async def _answer_all(folder: Path, calls: list[tuple[str, str, int | None]], closing: int | None) -> None:
    kernel = Kernel(folder)
    probe = Probe(kernel)
    kernel.take(probe.domain)
    kernel.open()
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)
    asked = [_ask(probe, name, mode) for name, mode, _ in calls]
    for turn in range(6):
        for each, (_, _, at) in zip(asked, calls, strict=True):
            if at == turn and each.cancel is not None:
                each.cancel()
        if turn == closing:
            kernel.dispatcher.closing = True
        await asyncio.sleep(0)
    await _settle([each for each, (name, mode, _) in zip(asked, calls, strict=True) if not waits(name, mode)])
    await kernel.dispatcher.stop_tasks()
    assert await asyncio.to_thread(kernel.store.close)
    await asyncio.sleep(0)  # what the writer posted at its end
    for each, (name, mode, at) in zip(asked, calls, strict=True):
        ((_, error),) = each.answers
        seen = "ok" if error is None else error.kind
        possible = allowed(name, mode, cancelled=at is not None)
        extra = {"locked"} if closing is not None and name == "probe.relay_action" else set[str]()
        assert seen in possible | extra, f"{name}: {error}"
    assert kernel.dispatcher.busy == 0


def _ask(probe: Probe, name: str, mode: str) -> Asked:
    if name == "probe.relay_action":
        return probe.ask(name, name="probe.act", input={"mode": mode})
    return probe.ask(name, mode=mode)


async def _settle(asked: list[Asked]) -> None:
    async with asyncio.timeout(5):
        for each in asked:
            await each.answered.wait()


# -- what is not there ------------------------------------------------------------------------------------------------


async def test_an_unknown_operation_is_told_the_nearest(probe: Probe) -> None:
    error = await probe.ask("probe.haste").error()
    assert error.kind == "not_found"
    error = await probe.ask("other.dubble").error()
    assert (error.hint, error.data) == ("did you mean other.double?", {"operation": "other.dubble"})
    error = await probe.ask("x" * 1000).error()
    assert error.hint == "see operations.list"
    assert len(error.message) < 300


async def test_the_operations_of_a_stopped_plugin_are_unsupported_with_the_reason(probe: Probe) -> None:
    registry = probe.kernel.registry
    registry.stop(registry.plugins["other"], Status.DISABLED, "it was disabled")
    for error in (
        await probe.ask("other.double", number=1).error(),
        await probe.ask("probe.relay_query", name="other.double", input={"number": 1}).error(),
        await probe.ask("probe.relay_action", name="other.double", input={"number": 1}).error(),
    ):
        assert isinstance(error, Unsupported)
        assert error.message.startswith("other.double is not there")
        assert "it was disabled" in error.message
        assert error.hint == "enable the plugin other"
        assert error.data is not None
        assert error.data["plugin"] == "other"
    assert await probe.ask("probe.offers", name="other.double").answer() is False


# -- calls from plugin to plugin --------------------------------------------------------------------------------------

RELAYS = ("probe.relay_query", "probe.relay_command", "probe.relay_action")


@pytest.mark.parametrize("relay", RELAYS)
async def test_a_call_of_a_plugin_that_is_not_there_names_the_one_to_enable(probe: Probe, relay: str) -> None:
    error = await probe.ask(relay, name="calendar.working_time", input={}).error()
    assert (error.kind, error.hint, error.data) == ("unsupported", "enable the plugin calendar", {"plugin": "calendar"})


@pytest.mark.parametrize("relay", RELAYS)
async def test_a_call_between_plugins_is_checked_against_the_schema_of_the_callee(probe: Probe, relay: str) -> None:
    assert await probe.ask(relay, name="other.double", input={"number": 21}).answer() == 42
    bad: list[tuple[dict[str, Any], set[str]]] = [
        ({"number": "21"}, {"/number"}),
        ({}, {"/number"}),
        ({"numbr": 1, "number": True}, {"/numbr", "/number"}),
    ]
    for input, fields in bad:
        error = await probe.ask(relay, name="other.double", input=input).error()
        assert isinstance(error, Invalid)
        assert error.data is not None
        assert {fault["field"] for fault in error.data["faults"]} == fields


async def test_a_query_cannot_call_a_command_nor_a_transaction_an_action(probe: Probe) -> None:
    for relay, callee, message in (
        ("probe.relay_query", "other.set", "other.set is a command: it cannot run inside a query"),
        ("probe.relay_query", "other.reach", "other.reach is an action: it cannot run inside a query"),
        ("probe.relay_command", "other.reach", "other.reach is an action: it cannot run inside a command"),
    ):
        error = await probe.ask(relay, name=callee, input={"number": 1} if callee == "other.set" else {}).error()
        assert (error.kind, error.message) == ("invalid", message)
    assert await probe.ask("probe.relay_command", name="other.set", input={"number": 7}).answer() == 7
    assert await probe.ask("probe.relay_action", name="other.reach", input={}).answer() == "reached"


@pytest.mark.parametrize("callee", ["other.wipe", "other.personal"])
async def test_the_way_over_a_milder_operation_does_not_go_round_the_person(probe: Probe, callee: str) -> None:
    error = await probe.ask("probe.relay_command", name=callee, input={}).error()
    assert (error.kind, error.data and error.data["rule"]) == ("refused", "safety")
    assert await probe.ask("other.wipe_all").answer() == "wiped"


async def test_an_operation_goes_away_with_its_plugin_while_others_are_called(probe: Probe) -> None:
    asked = [probe.ask("other.set", number=number) for number in range(50)]
    probe.kernel.registry.stop(probe.kernel.registry.plugins["other"], Status.DISABLED, "")
    assert [await each.answer() for each in asked] == list(range(50))
    assert (await probe.ask("other.set", number=1).error()).kind == "unsupported"


async def test_a_plugin_that_never_was_loaded_takes_nothing_of_its_namesake_away(probe: Probe) -> None:
    registry = probe.kernel.registry
    double = Plugin("double", Source.FOLDER, "double")
    registry.take(double, Probe(probe.kernel).other)
    assert double.status is Status.STOPPED_BY_DECLARATION
    registry.stop(double, Status.DISABLED, "by the person")
    assert await probe.ask("other.double", number=2).answer() == 4


async def test_the_awaiting_form_raises_the_named_error_and_cancels_with_its_task(probe: Probe) -> None:
    call = probe.kernel.dispatcher.call
    assert await call("probe.ask", b'{"mode": "ok"}', OWNER) == b'"ok"'
    with pytest.raises(Error, match="as asked"):
        await call("probe.do", b'{"mode": "refuse"}', OWNER)
    task = asyncio.ensure_future(call("probe.act", b'{"mode": "wait"}', OWNER))
    await probe.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while probe.kernel.dispatcher.busy:
            await asyncio.sleep(0)
    assert probe.ended == ["act"]
