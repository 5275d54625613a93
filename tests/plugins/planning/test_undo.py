"""Whatever was done to a plan, undo takes it back step by step, and no step leaves what must not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coder_local.api import Error
from coder_local.testing.memory import Sandbox, sandbox
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.rules import cycles, moments
from coder_plugins.planning.tasks.records import Task
from coder_plugins.planning.times.records import TimeEntry

Step = tuple[str, dict[str, Any]]
RULE = {"mode": "fixed", "start": "2026-01-01", "every": 1, "unit": "day"}

keys = st.integers(1, 6).map(lambda number: f"TASK-{number}")
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("planning.tasks.create"), st.fixed_dictionaries({"title": st.just("more")})),
    st.tuples(
        st.just("planning.link"),
        st.fixed_dictionaries(
            {"source": keys, "target": keys, "kind": st.sampled_from(["blocks", "parent", "relates"])}
        ),
    ),
    st.tuples(
        st.sampled_from(
            ["planning.tasks.start", "planning.tasks.finish", "planning.tasks.drop", "planning.tasks.reopen"]
        ),
        st.fixed_dictionaries({"id": keys}),
    ),
    st.tuples(st.just("planning.tasks.split"), st.fixed_dictionaries({"id": keys, "parts": st.integers(2, 3)})),
    st.tuples(st.just("planning.tasks.merge"), st.fixed_dictionaries({"ids": st.lists(keys, min_size=2, max_size=3)})),
    st.tuples(st.just("planning.tasks.move"), st.fixed_dictionaries({"id": keys, "parent": st.none() | keys})),
    st.tuples(st.just("planning.tasks.reorder"), st.fixed_dictionaries({"id": keys, "before": keys})),
    st.tuples(st.just("planning.tasks.hold"), st.fixed_dictionaries({"id": keys, "reason": st.just("later")})),
    st.tuples(st.just("planning.time.start"), st.fixed_dictionaries({"task": keys, "switch": st.booleans()})),
    st.tuples(st.just("planning.time.stop"), st.just({})),
)


@given(script=st.lists(steps, max_size=12))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_undo_takes_back_every_step(planning: Path, script: list[Step]) -> None:
    with sandbox(planning) as box:
        for title in ("one", "two", "three", "four"):
            box.call("planning.tasks.create", title=title, recurrence=RULE if title == "four" else None)
        for source, target, kind in (
            ("TASK-1", "TASK-2", "blocks"),
            ("TASK-2", "TASK-3", "blocks"),
            ("TASK-3", "TASK-4", "parent"),
        ):
            box.call("planning.link", source=source, target=target, kind=kind)
        box.call("planning.times.create", task="TASK-2", started_at="2026-01-01T00:00:00Z", minutes=5)
        before: list[Any] = []
        for name, input in script:
            state, count = _state(box), _changes(box)
            _try(box, name, input)
            assert _is_acyclic(box)
            if _changes(box) > count:
                before.append(state)
            else:
                assert _state(box) == state
        for state in reversed(before):
            box.undo()
            assert _state(box) == state


def _try(box: Sandbox, name: str, input: dict[str, Any]) -> None:
    """Run a step; a refusal is as good as an answer, a fault of the program is not."""
    try:
        box.call(name, **input)
    except Error as error:
        assert error.kind in {"conflict", "invalid", "not_found"}, error


def _state(box: Sandbox) -> list[Any]:
    """Return all that stands, without what every write changes."""
    read = box.snapshot()
    found: list[Any] = []
    for record in (Task, Link, TimeEntry):
        for each in read.select(record):
            fields = {name: getattr(each, name) for name in each.__struct_fields__}
            found.append({name: value for name, value in fields.items() if name not in {"rev", "updated_at"}})
    return found


def _changes(box: Sandbox) -> int:
    return int(box.kernel.store.writer.connection.execute("SELECT count(*) FROM change").fetchone()[0])


def _is_acyclic(box: Sandbox) -> bool:
    links = box.snapshot().select(Link, "kind IN ('blocks', 'parent')")
    return cycles.first_cycle([moments.Link(link.kind, link.source, link.target) for link in links]) is None  # type: ignore[arg-type]
