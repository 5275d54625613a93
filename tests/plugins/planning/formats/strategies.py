"""Arbitrary tasks, as planning could hold them."""

from __future__ import annotations

from hypothesis import strategies as st

from coder_plugins.planning.formats import CheckItem, ForeignLink, ForeignTask

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
WORDS = st.one_of(
    TEXT, st.sampled_from(["a, b; c\\n", "- [ ] x", "P1", "bug", "x <!-- id: y -->", "```", "# h", "é" * 60])
)
LINE = WORDS.map(str.strip).filter(bool)
INSTANTS = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
MOMENTS = st.one_of(
    INSTANTS,
    st.dates().map(str),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds")),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "[Europe/Berlin]"),
)
KINDS = ("blocks", "parent", "duplicates", "discovered_from", "caused_by", "fixes", "implements")
RULES = st.sampled_from(
    ["FREQ=DAILY", "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY;INTERVAL=3", "FREQ=WEEKLY;BYDAY=MO,WE", "FREQ=DAILY;COUNT=3"]
)
IDS = st.one_of(
    LINE, st.uuids().map(str), st.integers(1, 10**9).map(str), st.integers(1, 99).map(lambda n: f"octo/repo#{n}")
)


def links(ids: list[str]) -> st.SearchStrategy[tuple[ForeignLink, ...]]:
    """Links to the given tasks, and to some outside."""
    target = st.one_of(st.sampled_from(ids), IDS)
    directed = st.builds(ForeignLink, st.sampled_from(KINDS), target, inward=st.booleans())
    return st.lists(
        st.one_of(directed, st.builds(ForeignLink, st.just("relates"), target)), max_size=4, unique=True
    ).map(tuple)


def task(id: str, ids: list[str]) -> st.SearchStrategy[ForeignTask]:
    """One task with every field open."""
    return st.builds(
        ForeignTask,
        id=st.just(id),
        title=LINE,
        status=st.sampled_from(["backlog", "todo", "doing", "review", "done", "dropped"]),
        priority=st.sampled_from(["none", "low", "medium", "high", "urgent"]),
        kind=st.one_of(st.none(), LINE),
        created_at=st.one_of(st.none(), INSTANTS),
        updated_at=st.one_of(st.none(), INSTANTS),
        closed_at=st.one_of(st.none(), INSTANTS),
        due=st.one_of(st.none(), MOMENTS),
        wait_until=st.one_of(st.none(), MOMENTS),
        estimate_minutes=st.one_of(st.none(), st.integers(0, 10**6)),
        tags=st.lists(LINE, max_size=4, unique=True).map(tuple),
        assignee=st.one_of(st.none(), LINE),
        description=st.one_of(TEXT, st.lists(WORDS, max_size=4).map("\n".join)),
        checklist=st.lists(st.builds(CheckItem, LINE, done=st.booleans()), max_size=3).map(tuple),
        recurrence=st.one_of(st.none(), RULES),
        project=st.one_of(st.none(), LINE),
        links=links(ids),
    )


TASKS = (
    st.lists(IDS, min_size=1, max_size=4, unique=True)
    .flatmap(lambda ids: st.tuples(*(task(id, ids) for id in ids)))
    .map(list)
)
