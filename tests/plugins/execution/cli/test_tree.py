"""A run as lines: fan-outs folded, output by whole lines, and what fits the screen."""

from coder_plugins.execution.cli import times, tree
from coder_plugins.execution.cli.state import RunState, summary


def step(key, status="pending", **more):
    return {"key": key, "kind": "command", "status": status, "attempts": 1, **more}


def state_of(*steps):
    state = RunState()
    state.load({"run": {"id": "r", "name": "n", "status": "running"}, "steps": list(steps), "waits": []})
    return state


def many(count):
    items = [step(f"all[{n}]", "succeeded", parent="all") for n in range(count)]
    items[3] |= {"status": "failed", "error": {"message": "it broke\x1b"}}
    items[4] |= {"status": "running", "started_at": "2026-01-01T00:00:00.000Z"}
    return step("first", "succeeded"), step("all", "running"), *items


def test_a_small_fan_out_is_shown_whole_and_a_large_one_folded_to_what_is_worth_a_look():
    small = tree.lines(state_of(*many(6)), 0)
    assert [line.key for line in small] == ["first", "all", *(f"all[{n}]" for n in range(6))]
    large = tree.lines(state_of(*many(500)), 0)
    assert [line.key for line in large] == ["first", "all", "all[3]", "all[4]"]
    assert large[1].more == "498 of 500 done, 1 failed, 1 running"
    assert large[2].more == "it broke\\u001b"


def test_a_step_of_a_fan_out_that_was_not_known_is_put_below_it():
    state = state_of(step("all", "running"))
    state.hear(
        {"type": "step", "step": "all[new]", "status": "running", "attempt": 2, "at": "2026-01-01T00:00:00.000Z"}
    )
    line = tree.lines(state, times.seconds_of("2026-01-01T00:00:03.000Z"))[1]
    assert (line.depth, line.key, line.time, line.more) == (1, "all[new]", "3.0 s", "attempt 2")


def test_output_comes_in_whole_lines_and_its_rest_at_the_end():
    state = state_of(step("a", "running"))
    said = {"type": "output", "step": "a", "stream": "stdout"}
    assert state.hear({**said, "text": "one\ntw"}) == ["one"]
    assert state.hear({**said, "text": "x", "stream": "stderr"}) == []
    assert state.hear({**said, "text": "o\nthree"}) == ["two"]
    end = {"type": "step", "step": "a", "status": "succeeded", "at": "2026-01-01T00:00:00.000Z"}
    assert state.hear(end) == ["x", "three"]
    assert list(state.steps["a"].tail) == ["one", "two", "x", "three"]


def test_what_fits_are_first_those_that_are_not_over():
    steps = [step(f"s{n}", "succeeded") for n in range(20)] + [step("bad", "failed"), step("now", "running")]
    found = tree.lines(state_of(*steps, *(step(f"p{n}") for n in range(20))), 0)
    shown = tree.fitted(found, 10)
    assert len(shown) <= 10
    assert {"bad", "now"} <= {line.key for line in shown}
    assert all(len(line) <= 40 for line in tree.text(found, 40))


def test_counts_and_times_are_said_in_words():
    assert summary({"succeeded": 3, "reused": 1, "needs_decision": 1}) == "4 of 5 done, 1 undecided"
    said = {0.014: "14 ms", 0.5: "0.5 s", 12.2: "12 s", 185: "3 min 5 s", 7800: "2 h 10 min", 3600: "1 h"}
    assert {seconds: times.length(seconds) for seconds in said} == said
    assert [times.size(count) for count in (812, 1536, 20 * 2**20)] == ["812 bytes", "1.5 KiB", "20 MiB"]
