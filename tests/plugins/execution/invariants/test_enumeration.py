"""The engine is ended at every commit and around every effect: the run comes to its end, and nothing happens twice."""

from __future__ import annotations

import os
import random

import pytest

from .enumeration import PLAN, mark, play

LONG = bool(os.environ.get("CODER_LOCAL_LONG_TESTS"))
SAMPLE = 120
"""Double crashes that are played in CI; there are some thousands, and all are played where LONG is set."""


def test_the_plan_has_everything_in_it() -> None:
    outcome = play()
    assert outcome.faults == []
    assert (outcome.asked, outcome.crashes) == (0, 0)
    assert {step["kind"] for step in PLAN} == {
        "operation", "timer", "approval", "signal", "sub_run", "w.read",
        "w.once", "w.keyed", "w.checkable", "w.adoptable",
    }  # fmt: skip
    failed = {key for key, status in outcome.steps.items() if status not in {"succeeded"}}
    assert failed == {"bad", "left"}
    assert {"mark'", "pay'", "edit'", "each[c]", "below.mark"} <= outcome.steps.keys()
    assert len(outcome.boundaries) > 80


def test_every_crash_is_survived() -> None:
    clean = play()
    asked: list[str] = []
    for number in range(1, len(clean.boundaries) + 1):
        outcome = play(crash_at=[number], linger=bool(number % 2))
        at = f"crash {number}, {outcome.boundaries[number - 1]}"
        assert outcome.faults == [], at
        assert outcome.crashes == 1, at
        assert outcome.steps == clean.steps, at
        asked += [at] * outcome.asked
    assert asked, "some crashes leave a step that nobody can judge"
    assert len(asked) <= len(clean.boundaries) / 2, "and most do not"


def test_an_operation_at_which_the_daemon_ends_five_times_is_asked_about() -> None:
    """It may be what ends the daemon, which would be started again for ever. After the first time it leaves a trace."""
    crashes: list[int] = []
    for count in range(6):
        outcome = play([mark("mark")], crashes)
        assert (outcome.crashes, outcome.asked, outcome.faults) == (count, int(count == 5), [])
        assert outcome.steps == {"mark": "succeeded"}
        crashes.append(len(outcome.boundaries) - 1)  # before the last commit, which is of the change and its result


def test_every_crash_after_a_crash_is_survived() -> None:
    clean = play()
    pairs = [
        (first, second)
        for first in range(1, len(clean.boundaries) + 1)
        for second in range(first + 1, (len(play(crash_at=[first]).boundaries) if LONG else len(clean.boundaries)) + 1)
    ]
    if not LONG:
        pairs = random.Random(20_261_106).sample(pairs, SAMPLE)
    for pair in pairs:
        outcome = play(crash_at=pair, linger=bool(sum(pair) % 2))
        at = f"crashes {pair}, {outcome.boundaries[pair[0] - 1]}, {outcome.boundaries[pair[1] - 1]}"
        assert outcome.faults == [], at
        assert outcome.steps == clean.steps, at


if LONG:
    test_every_crash_after_a_crash_is_survived = pytest.mark.timeout(7_200)(test_every_crash_after_a_crash_is_survived)
