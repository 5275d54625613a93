"""Signals early, late and twice, and approvals by whom and on what."""

from __future__ import annotations

import pytest

from coder_local.api import Conflict, Invalid, Refused, TooLarge

from .bench import Bench, operation, step, work, wrong

GO = {"name": "go"}


async def test_a_late_signal_wakes_the_step_with_its_payload(bench: Bench) -> None:
    id = bench.start(step("w", "signal", GO), work("a", "w", output="${{ steps.w.output.payload.x }}"))
    assert bench.status(id) == "waiting"
    sent = bench.call("execution.runs.signal", id=id, name="go", payload={"x": 7})
    assert sent["consumed_by"] == "w"
    await bench.until(id)
    assert bench.steps(id)["a"]["output"] == 7


async def test_an_early_signal_is_kept(bench: Bench) -> None:
    id = bench.start(work("a", hold=True), step("w", "signal", GO, needs=["a"]))
    sent = bench.call("execution.runs.signal", id=id, name="go", payload=1)
    assert sent["consumed_by"] is None
    bench.world.let_go()
    await bench.until(id)
    assert bench.steps(id)["w"]["output"] == {"name": "go", "payload": 1}


async def test_early_signals_are_taken_in_order_one_by_each_step(bench: Bench) -> None:
    id = bench.start(
        work("a", hold=True), step("w", "signal", GO, needs=["a"]), step("x", "signal", GO, needs=["w"]),
        step("y", "signal", {"name": "other"}),
    )  # fmt: skip
    for payload in (1, 2, 3):
        bench.call("execution.runs.signal", id=id, name="go", payload=payload)
    bench.world.let_go()
    await bench.until_step(id, "x", "succeeded")
    assert [bench.steps(id)[key]["output"]["payload"] for key in "wx"] == [1, 2]
    assert bench.statuses(id)["y"] == "waiting"
    signals = bench.call("execution.runs.record", id=id)["signals"]
    assert [each["consumed_by"] for each in signals] == ["w", "x", None]


async def test_one_signal_wakes_one_step(bench: Bench) -> None:
    id = bench.start(step("w", "signal", GO), step("x", "signal", GO))
    bench.call("execution.runs.signal", id=id, name="go")
    assert bench.statuses(id) == {"w": "succeeded", "x": "waiting"}


async def test_a_signal_with_the_same_key_is_the_same(bench: Bench) -> None:
    id = bench.start(step("w", "signal", GO), step("x", "signal", GO, needs=["w"]))
    first = bench.call("execution.runs.signal", id=id, name="go", payload=1, dedupe_key="k")
    again = bench.call("execution.runs.signal", id=id, name="go", payload=2, dedupe_key="k")
    assert again == first
    assert bench.statuses(id) == {"w": "succeeded", "x": "waiting"}
    assert bench.events("signal.received") == ["signal.received"]
    other = bench.start(step("w", "signal", GO))
    assert bench.call("execution.runs.signal", id=other, name="go", dedupe_key="k")["id"] != first["id"]


async def test_a_signal_survives_a_crash(bench: Bench) -> None:
    id = bench.start(work("a", hold=True, effect="repeatable"), step("w", "signal", GO, needs=["a"]))
    await bench.crash()
    bench.call("execution.runs.signal", id=id, name="go")
    bench.world.let_go()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_a_signal_to_a_paused_run_is_heard(bench: Bench) -> None:
    id = bench.start(step("w", "signal", GO), work("a", "w"))
    bench.call("execution.runs.pause", id=id)
    bench.call("execution.runs.signal", id=id, name="go")
    assert bench.statuses(id) == {"w": "succeeded", "a": "pending"}


# -- approvals --------------------------------------------------------------------------------------------------------


async def test_an_approval_says_who_decided_and_what_was_seen(bench: Bench) -> None:
    shown = {"command": "${{ steps.a.output }}"}
    id = bench.start(
        work("a", output="rm -rf x"), step("ok", "approval", {"prompt": "Run it?", "shown": shown}, needs=["a"])
    )
    await bench.until_step(id, "ok", "waiting")
    wait = bench.waits(id)["ok"]
    assert (wait["prompt"], wait["shown"], wait["choices"]) == (
        "Run it?",
        {"command": "rm -rf x"},
        ["approve", "reject"],
    )
    answer = bench.call(
        "execution.approvals.approve", id=wait["id"], shown_hash=wait["shown_hash"], payload={"note": "fine"}
    )
    assert (answer["approval"]["decision"], answer["approval"]["decided_by"]) == ("approve", "user")
    assert answer["run"]["status"] == "succeeded"
    assert bench.steps(id)["ok"]["output"] == {"decision": "approve", "by": "user", "payload": {"note": "fine"}}
    assert bench.events("approval.requested", "approval.decided") == ["approval.requested", "approval.decided"]


async def test_the_hash_is_of_prompt_and_content(bench: Bench) -> None:
    hashes = set()
    for prompt, shown in (("a", 1), ("b", 1), ("a", 2), ("a", {"x": 1, "y": 2}), ("a", {"y": 2, "x": 1}), ("a", 1)):
        id = bench.start(step("ok", "approval", {"prompt": prompt, "shown": shown}))
        hashes.add(bench.waits(id)["ok"]["shown_hash"])
    assert len(hashes) == 4


async def test_a_rejection_fails_the_step_and_leads_elsewhere(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "?"}), work("a", "ok"), work("tell", "ok", run_if="failure()"))
    bench.call("execution.approvals.reject", id=bench.waits(id)["ok"]["id"], payload="no")
    run = await bench.until(id)
    assert (run["status"], run["error"]["word"]) == ("failed", "rejected")
    assert bench.statuses(id) == {"ok": "failed", "a": "skipped", "tell": "succeeded"}


async def test_choices_of_ones_own(bench: Bench) -> None:
    id = bench.start(
        step("ok", "approval", {"prompt": "?", "choices": ["left", "right"]}),
        work("a", "ok", when={"value": "${{ steps.ok.output.decision }}", "equals": "left"}),
    )
    bench.call("execution.approvals.approve", id=bench.waits(id)["ok"]["id"], choice="right")
    await bench.until(id)
    assert bench.statuses(id)["a"] == "skipped"


async def test_only_a_person_decides(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "?"}))
    wait = bench.waits(id)["ok"]["id"]
    for name in ("approve", "reject"):
        with pytest.raises(Refused):
            bench.box.as_agent("a").call(f"execution.approvals.{name}", id=wait)
    assert bench.status(id) == "waiting"


async def test_a_run_does_not_decide_for_the_person_who_started_it(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "?"}))
    wait = bench.waits(id)["ok"]["id"]
    error = bench.refused(operation("sly", "execution.approvals.approve", id=wait))
    wrong(error, Invalid, "/steps/0/input/operation", "for a person", "approval")
    assert bench.status(id) == "waiting"
    assert bench.waits(id)["ok"]["decision"] is None


async def test_a_decision_after_the_run_was_cancelled(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "?"}))
    wait = bench.waits(id)["ok"]["id"]
    bench.call("execution.runs.cancel", id=id)
    with pytest.raises(Conflict) as caught:
        bench.call("execution.approvals.approve", id=wait)
    assert "it is over" in caught.value.message


async def test_a_decision_survives_a_crash(bench: Bench) -> None:
    id = bench.start(step("ok", "approval", {"prompt": "?"}), work("a", "ok"))
    wait = bench.waits(id)["ok"]["id"]
    await bench.crash()
    bench.call("execution.approvals.approve", id=wait)
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"


async def test_what_is_sent_along_is_limited(bench: Bench) -> None:
    id = bench.start(step("w", "signal", {"name": "go"}), step("ok", "approval", {"prompt": "?"}))
    large, fits = "x" * (1024 * 1024 - 1), "x" * (1024 * 1024 - 2)
    approval = bench.waits(id)["ok"]["id"]
    for name, input, field in (
        ("runs.signal", {"id": id, "name": "go", "payload": large}, "/payload"),
        ("approvals.approve", {"id": approval, "payload": large}, "/payload"),
        ("approvals.reject", {"id": approval, "payload": large}, "/payload"),
        ("runs.resume", {"id": id, "choice": "done", "output": large}, "/output"),
    ):
        with pytest.raises(TooLarge) as caught:
            bench.call(f"execution.{name}", **input)
        assert (caught.value.field, caught.value.data["limit"]) == (field, 1024 * 1024)
    assert bench.rows("signals") == 0
    bench.call("execution.runs.signal", id=id, name="go", payload=fits)
    assert bench.steps(id)["w"]["status"] == "succeeded"
