"""Each rule of the engine, switched off, makes the enumeration fail: it is the rules that keep what it promises."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from coder_local.api import Found
from coder_plugins.execution.engine import turn as turns
from coder_plugins.execution.machine import attempts, waiting
from coder_plugins.execution.machine.attempts import Ended
from coder_plugins.execution.machine.live import Moves
from coder_plugins.execution.runs.records import Boot

from . import world
from .enumeration import NOW, mark, play, step

Plan = Sequence[dict[str, Any]]


def finds(plan: Plan, fault: str, *, clean: bool = False) -> bool:
    """Tell whether a fault is found when a plan is played, and if not `clean` when it is played with each crash."""
    played = play(plan)
    last = 0 if clean else len(played.boundaries)
    crashed = (play(plan, [number], linger=bool(number % 2)) for number in range(1, last + 1))
    return any(fault in found for outcome in itertools.chain([played], crashed) for found in outcome.faults)


PAY = [step("pay", "w.once"), mark("mark", "pay")]
SEND = [step("send", "w.keyed", input={"fails": 1}, retry=NOW)]
EDIT = [step("edit", "w.checkable")]
BUILD = [step("build", "w.adoptable")]
SHARED = [
    step("build", "w.adoptable", input={"resource": "port"}, resources=["port"]),
    step("test", "w.adoptable", input={"resource": "port"}, resources=["port"]),
]
SLEEP = [step("sleep", "timer", input={"duration": "PT1H"}), step("send", "w.keyed", "sleep")]
MARK = [step("read", "w.read"), mark("mark", "read"), step("send", "w.keyed", "mark")]


@pytest.mark.parametrize("plan", [PAY, SEND, EDIT, BUILD, SHARED, SLEEP, MARK])
def test_with_all_rules_nothing_is_found(plan: Plan) -> None:
    assert not finds(plan, "")


def test_without_an_intent_before_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of results only: the attempt is written together with its end."""
    claim, end = attempts.claim, attempts.end

    def without(moves: Moves, live: Any, key: str, *rest: Any) -> Any:
        job = claim(moves, live, key, *rest)
        live.new_attempts.discard(key)
        return job

    def late(moves: Moves, ended: Ended) -> None:
        live = moves.load(ended.run)
        if ended.key in live.running:
            live.new_attempts.add(ended.key)
        end(moves, ended)

    monkeypatch.setattr(attempts, "claim", without)
    monkeypatch.setattr(attempts, "end", late)
    assert finds(PAY, "E1:", clean=True)


def test_when_what_may_happen_once_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    end = attempts.end

    def again(moves: Moves, ended: Ended) -> None:
        end(moves, msgspec.structs.replace(ended, state="lost") if ended.state == "unknown" else ended)

    monkeypatch.setattr(attempts, "end", again)
    assert finds(PAY, "pay is succeeded, and happened 2 times")


def test_when_a_result_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that was done when the engine ended is begun anew."""
    begin = turns.begin

    def forgetting(tx: Any, kinds: Any, pid: int, *rest: Any) -> Any:
        found = begin(tx, kinds, pid, *rest)
        with Moves(tx, kinds) as moves:
            for run, key in tx.rows(
                "SELECT s.run, s.key FROM execution_steps s JOIN execution_runs r ON r.id = s.run"
                " WHERE s.status = 'succeeded' AND s.kind = 'w.keyed' AND r.finished_at IS NULL LIMIT 1"
            ):
                live = moves.load(run)
                live.unended += 1
                live.set(key, status="pending", ended=None, output=None)
                moves.revisit(live, key)
            turns.settle(moves)
        return found

    monkeypatch.setattr(turns, "begin", forgetting)
    assert finds([*SEND, step("read", "w.read", "send")], "E2:")


def test_when_each_attempt_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    job_of = attempts.job_of
    monkeypatch.setattr(
        attempts, "job_of",
        lambda live, attempt, *rest: msgspec.structs.replace(job_of(live, attempt, *rest), idempotency_key=attempt.id),
    )  # fmt: skip
    assert finds(SEND, "send is succeeded, and happened 2 times", clean=True)


def test_when_nobody_looks_whether_a_file_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(*_: Any) -> Found:
        return Found(state="not_begun")

    monkeypatch.setattr(world.Edit, "recover", blind)
    assert finds(EDIT, "edit is succeeded, and happened 2 times")


def test_when_no_program_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(*_: Any) -> Found:
        return Found(state="not_begun")

    monkeypatch.setattr(world.Work, "recover", blind)
    assert finds(BUILD, "build is succeeded, and happened 2 times")


def test_when_a_start_does_not_judge_what_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(tx: Any, kinds: Any, pid: int, *rest: Any) -> Any:
        return turns.Begun(tx.insert(Boot(pid=pid)).id, [], None)

    monkeypatch.setattr(turns, "begin", blind)
    assert finds(PAY, "E8:")


def test_when_an_attempt_that_goes_on_is_no_reason_not_to_begin_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(moves: Moves, run: str, key: str) -> None:
        live = moves.load(run)
        del live.running[key]
        live.set(key, status="pending", ready_at=None)
        moves.revisit(live, key)

    monkeypatch.setattr(attempts, "recover", beside)
    assert finds(BUILD, "E3:")


def test_when_a_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = waiting.begin

    def at_once(moves: Moves, live: Any, key: str, *rest: Any) -> None:
        begin(moves, live, key, *rest)
        waiting.fire(moves, live, live.waits[key])

    monkeypatch.setattr(waiting, "begin", at_once)
    assert finds(SLEEP, "E9:", clean=True)


def test_when_what_ended_keeps_its_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moves, "close_wait", lambda *_, **__: None)
    assert finds(SLEEP, "E6:", clean=True)


def test_when_all_starts_have_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the last engine left is taken for one's own."""
    begin = turns.begin

    def same(tx: Any, kinds: Any, pid: int, *rest: Any) -> Any:
        if tx.find(Boot, "boot") is None:
            tx.insert(Boot(id="boot", pid=pid))

        class Same:
            def __getattr__(self, name: str) -> Any:
                return getattr(tx, name)

            def insert(self, record: Any) -> Any:
                return tx.get(Boot, "boot") if isinstance(record, Boot) else tx.insert(record)

        return begin(Same(), kinds, pid, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(turns, "begin", same)
    assert finds(PAY, "does not come to its end")


def test_when_resources_are_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moves, "free", lambda *_: None)
    assert finds(SHARED, "is succeeded, and holds a lock", clean=True)


def test_when_resources_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_take", lambda *_: None)
    assert finds(SHARED, "had port at once", clean=True)


def test_when_waits_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are kept only in the memory of the engine that began to wait."""
    begin, fire = turns.begin, waiting.fire
    lost: set[str] = set()

    def forget(tx: Any, kinds: Any, pid: int, *rest: Any) -> Any:
        lost.update(id_ for (id_,) in tx.rows("SELECT id FROM execution_waits WHERE status = 'open'"))
        return begin(tx, kinds, pid, *rest)

    monkeypatch.setattr(turns, "begin", forget)
    monkeypatch.setattr(waiting, "fire", lambda moves, live, wait: wait.id in lost or fire(moves, live, wait))
    assert finds(SLEEP, "waits for its timer, which was due")


def test_when_a_change_and_its_result_are_two_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation runs as any other effect does, and its result is written afterwards."""
    monkeypatch.setattr(turns, "is_one_commit", lambda _: False)
    assert finds(MARK, "E5:")


def test_when_what_was_found_out_is_not_on_disk_before_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes of a file are known only to the engine that died; nobody can tell what the file was."""

    def forget(moves: Moves, run: str, key: str, n: int, facts: Any, kept: Any) -> bool:
        return key in moves.load(run).running

    monkeypatch.setattr(attempts, "prepared", forget)
    assert finds(EDIT, "E1:", clean=True)
