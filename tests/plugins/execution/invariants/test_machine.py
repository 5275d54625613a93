"""Whatever runs are made of, and whatever is done to them while the engine ends again and again: E1 to E9 hold."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from coder_plugins.execution.engine import engine

from .enumeration import ONLY_ONCE
from .graphs import SIGNALS, graphs
from .harness import ENDED, Session
from .world import World

LONG = bool(os.environ.get("CODER_LOCAL_LONG_TESTS"))
PROFILE = settings(
    max_examples=2_000 if LONG else 40,
    stateful_step_count=60 if LONG else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TO_THE_END = 400
"""Things that are done at most to bring all runs to their ends; there are far fewer to do."""
picks = st.integers(0, 1_000)


class ExecutionMachine(RuleBasedStateMachine):
    """Runs, a person, a clock, and an engine that is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World()
        self.session = Session(self.world)
        self.decided: set[tuple[str, str]] = set()
        """Steps about which a person said something else than what he saw."""

    def teardown(self) -> None:
        try:
            self.world.crash_at.clear()
            self.run(self._to_the_end())
            self._judge()
        finally:
            self.runner.run(self.session.close())
            self.runner.close()

    def run(self, doing: Coroutine[Any, Any, Any] | None = None) -> None:
        """Do something, then let the engine go on until nothing is left to do, and hold it to its invariants."""

        async def both() -> None:
            if doing is not None:
                await doing
            await self.session.settle()

        self.runner.run(both())
        assert not self.session.faults, "\n".join(self.session.faults)

    def call(self, operation: str, /, **input: Any) -> None:
        """Have a person call an operation."""

        async def calling() -> None:
            self.session.box.call(operation, **input)

        self.run(calling())

    def pick(self, sql: str, number: int) -> Any:
        """Return one of the rows that a statement finds, None if there are none."""
        rows = self.session.base.execute(sql).fetchall()
        return rows[number % len(rows)] if rows else None

    def open_run(self, number: int) -> str | None:
        """Return a run that has not ended."""
        found = self.pick(f"SELECT id FROM execution_runs WHERE status NOT IN {tuple(ENDED)} ORDER BY id", number)
        return None if found is None else str(found[0])

    # -- what happens -------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.run(self.session.begin())

    @rule(
        steps=graphs(),
        parallel=st.sampled_from([1, 2, 64]),
        key=st.sampled_from([None, None, "k"]),
        deadline=st.sampled_from([None, None, None, "PT3H"]),
    )
    def start(self, steps: list[dict[str, Any]], parallel: int, key: str | None, deadline: str | None) -> None:
        self.call("execution.start", steps=steps, parallel=parallel, concurrency_key=key, deadline=deadline)

    @rule(number=picks)
    def let_go(self, number: int) -> None:
        held = [gate for gate in self.world.gates.values() if not gate.is_set()]
        if held:
            held[number % len(held)].set()
            self.run()

    @rule(seconds=st.sampled_from([1, 60, 600, 3_600, 90_000, -3_600]))
    def advance(self, seconds: int) -> None:
        self.session.box.clock.advance(seconds)
        if self.session.engine is not None:
            self.session.engine.wake()
        self.run()

    @rule(number=picks, approve=st.booleans())
    def answer(self, number: int, approve: bool) -> None:
        found = self.pick("SELECT id FROM execution_waits WHERE kind = 'approval' AND status = 'open'", number)
        if found is not None:
            self.call(f"execution.approvals.{'approve' if approve else 'reject'}", id=found[0])

    @rule(number=picks, choice=st.sampled_from(["look", "look", "skip", "fail"]))
    def decide(self, number: int, choice: str) -> None:
        found = self.pick("SELECT run, key FROM execution_waits WHERE kind = 'decision' AND status = 'open'", number)
        if found is not None and choice == "look":
            self.session.decide(*found)
            self.run()
        elif found is not None:
            self.decided.add(found)
            self.call("execution.runs.resume", id=found[0], step=found[1], choice=choice)

    @rule(number=picks, name=st.sampled_from(SIGNALS), dedupe=st.sampled_from([None, "same"]))
    def signal(self, number: int, name: str, dedupe: str | None) -> None:
        run = self.open_run(number)
        if run is not None:
            self.call("execution.runs.signal", id=run, name=name, dedupe_key=dedupe)

    @rule(number=picks, compensate=st.booleans(), grace=st.sampled_from([None, 0]))
    def cancel(self, number: int, compensate: bool, grace: int | None) -> None:
        run = self.open_run(number)
        if run is not None:
            self.call("execution.runs.cancel", id=run, compensate=compensate, grace=grace)

    @rule(number=picks)
    def pause(self, number: int) -> None:
        found = self.pick(
            f"SELECT id FROM execution_runs WHERE NOT cancelling AND status NOT IN {tuple(ENDED)} ORDER BY id", number
        )
        if found is not None:
            self.call("execution.runs.pause", id=found[0])

    @rule(number=picks)
    def resume(self, number: int) -> None:
        found = self.pick(f"SELECT id FROM execution_runs WHERE paused AND status NOT IN {tuple(ENDED)}", number)
        if found is not None:
            self.call("execution.runs.resume", id=found[0])

    @rule(number=picks, source=st.sampled_from(["failed", "start", "s0"]))
    def retry(self, number: int, source: str) -> None:
        found = self.pick(f"SELECT id FROM execution_runs WHERE status IN {tuple(ENDED)} ORDER BY id", number)
        if found is not None:
            self.call("execution.runs.retry", id=found[0], source=source)

    @rule(number=picks)
    def rewind(self, number: int) -> None:
        found = self.pick("SELECT id FROM execution_runs ORDER BY id", number)
        if found is not None:
            self.call("execution.runs.rewind", id=found[0], step="s0")

    @rule(after=st.integers(1, 25), linger=st.booleans())
    def crash_soon(self, after: int, linger: bool) -> None:
        self.world.crash_at = {len(self.world.boundaries) + after}
        self.session.linger = linger

    @rule()
    def crash_now(self) -> None:
        async def again() -> None:
            await self.session.bury()
            await self.session.begin()

        self.run(again())

    @rule()
    def stop_and_start(self) -> None:
        async def again() -> None:
            self.world.crash_at.clear()
            if self.session.engine is not None:
                with patch.object(engine, "PARK_S", 0.01):
                    await self.session.engine.stop()
            await self.session.bury()
            await self.session.begin()

        self.run(again())

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _to_the_end(self) -> None:
        """Let everything go, answer everything, and go on until all runs have ended."""
        session = self.session
        if session.engine is None:
            await session.begin()
        for _ in range(TO_THE_END):
            await session.settle()
            if self.open_run(0) is None:
                return
            gates = [gate for gate in self.world.gates.values() if not gate.is_set()]
            for gate in gates:
                gate.set()
            paused = 0
            while run := self.pick(f"SELECT id FROM execution_runs WHERE paused AND status NOT IN {tuple(ENDED)}", 0):
                session.box.call("execution.runs.resume", id=run[0])  # one by one: with a run those below it go on
                paused += 1
            if not gates and not paused and not session.attend():
                break
        runs = session.base.execute(
            f"SELECT id, status, reason FROM execution_runs WHERE status NOT IN {tuple(ENDED)}"
        ).fetchall()
        session.faults.append(
            f"E7: these do not come to their ends: {[(each, session.steps(each[0])) for each in runs]}"
        )

    def _judge(self) -> None:
        """Hold the world to what the steps say: what succeeded happened once, and nothing happened twice."""
        for run, key, kind, status in self.session.base.execute(
            "SELECT run, key, kind, status FROM execution_steps WHERE role <> 'fan_out'"
        ).fetchall():
            policy = self._policy(run, key)
            count = self.session.world.effects[run, key]
            if kind not in ONLY_ONCE or policy == "rerun" or (run, key) in self.decided:
                continue
            assert count <= 1, f"{run}/{key} ({kind}) is {status}, and happened {count} times"
            if status == "succeeded" and policy != "assume_done":
                assert count == 1, f"{run}/{key} ({kind}) succeeded, and did not happen"

    def _policy(self, run: str, key: str) -> str:
        (body,) = self.session.base.execute(
            "SELECT d.body FROM execution_definitions d JOIN execution_runs r ON r.definition = d.id WHERE r.id = ?",
            (run,),
        ).fetchone()
        if key.endswith("'"):
            return "ask"
        own = next(step for step in json.loads(body)["steps"] if step["key"] == key.partition("[")[0])
        return str(own.get("on_unknown", "ask"))


TestExecution = ExecutionMachine.TestCase
TestExecution.settings = PROFILE
