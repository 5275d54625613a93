"""Random steps for runs: joins, conditions, fan-outs, retries, waits, compensations, resources, runs below runs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

WORK = ("w.read", "w.once", "w.keyed", "w.checkable", "w.adoptable", "operation")
WAITS = ("timer", "approval", "signal", "sub_run")
SIGNALS = ("red", "green")
RESOURCES = ("a", "b")


def _mark(label: str, *, fails: bool = False) -> dict[str, Any]:
    return {"operation": "world.mark", "input": {"label": f"${{{{ run.id }}}}/{label}", "fails": fails}}


@st.composite
def _work(draw: st.DrawFn, key: str, kind: str) -> dict[str, Any]:
    """Return a step that does something."""
    step: dict[str, Any] = {"key": key, "kind": kind}
    items = draw(st.none() | st.lists(st.integers(0, 9), max_size=3, unique=True))
    label = key if items is None else key + "-${{ item }}"
    step["resources"] = draw(st.just([]) | st.lists(st.sampled_from(RESOURCES), max_size=2, unique=True))
    if kind == "operation":
        step["input"] = _mark(label, fails=draw(st.sampled_from([False, False, True])))
    else:
        step["input"] = {"fails": draw(st.sampled_from([0, 0, 0, 1, -1])), "holds": draw(st.booleans())}
        if step["resources"] and kind == "w.adoptable":
            step["input"]["resource"] = step["resources"][0]
    if items is not None:
        step["foreach"] = items
        step["max_parallel"] = draw(st.sampled_from([None, 1, 2]))
        step["fan_in"] = draw(st.sampled_from(["all", "any", 2]))
    step["retry"] = draw(
        st.sampled_from([{"max": 1}, {"max": 2, "first": "PT0S"}, {"max": 3, "first": "PT1M", "jitter": "none"}])
    )
    undo = draw(st.none() | st.sampled_from(["w.once", "w.keyed", "w.checkable", "w.adoptable", "operation"]))
    if undo is not None:
        step["compensate"] = {"kind": undo, "input": _mark(f"{label}'") if undo == "operation" else {}}
    step["on_unknown"] = draw(st.sampled_from(["ask", "ask", "ask", "rerun", "fail", "assume_done"]))
    step["queue_timeout"] = draw(st.sampled_from([None, None, "PT5M"]))
    return step


@st.composite
def _wait(draw: st.DrawFn, key: str, kind: str, depth: int) -> dict[str, Any]:
    """Return a step that waits."""
    step: dict[str, Any] = {"key": key, "kind": kind}
    if kind == "timer":
        step["input"] = {"duration": draw(st.sampled_from(["PT0S", "PT1M", "PT1H", "P1D"]))}
        return step
    step["deadline"] = draw(st.sampled_from([None, "PT30M", "PT2H"]))
    if kind == "approval":
        step["input"] = {"prompt": "Go on?", "default": draw(st.sampled_from([None, "approve", "reject"]))}
    elif kind == "signal":
        step["input"] = {"name": draw(st.sampled_from(SIGNALS))}
    else:
        step["input"] = {"steps": draw(graphs(depth=depth + 1))}
    return step


@st.composite
def graphs(draw: st.DrawFn, depth: int = 0) -> list[dict[str, Any]]:
    """Return the steps of a run."""
    steps: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 6 if depth == 0 else 3))):
        key = f"s{index}"
        kind = draw(st.sampled_from(WORK + WAITS[: 4 if depth < 2 else 3]))
        step = draw(_work(key, kind) if kind in WORK else _wait(key, kind, depth))
        before = [each["key"] for each in steps]
        step["needs"] = draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        joins: list[Any] = ["all", "any", *range(1, len(step["needs"]) + 1)]
        step["join"] = draw(st.sampled_from(joins))
        step["run_if"] = draw(st.sampled_from(["success()", "success()", "failure()", "always()"]))
        step["allow_failure"] = draw(st.booleans())
        steps.append(step)
    return steps
