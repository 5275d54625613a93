from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_plugins.planning.rules.capture import Draft, capture, parse_due

WEDNESDAY = date(2026, 11, 4)


def test_the_example_line():
    assert capture("fix login !high #auth ~2h due fri after PLAN-12", WEDNESDAY) == Draft(
        title="fix login", priority="high", tags=["auth"], estimate=120, due=date(2026, 11, 6), after=["PLAN-12"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", WEDNESDAY), ("tomorrow", date(2026, 11, 5)), ("friday", date(2026, 11, 6)),
        ("FRI", date(2026, 11, 6)),
        ("thu", date(2026, 11, 5)), ("tues", date(2026, 11, 10)), ("wed", date(2026, 11, 11)),
        ("next week", date(2026, 11, 9)), ("next month", date(2026, 12, 1)), ("+3d", date(2026, 11, 7)),
        ("+2w", date(2026, 11, 18)), ("+3m", date(2027, 2, 4)), ("in 3 days", date(2026, 11, 7)),
        ("in 1 week", date(2026, 11, 11)), ("in 2 years", date(2028, 11, 4)), ("2026-12-01", date(2026, 12, 1)),
        ("2026-02-30", None), ("2026-1-1", None), ("20261201", None), ("3 days", None), ("someday", None), ("", None),
        ("+99999y", None), ("+99999m", None), ("fr", None),
    ],
)  # fmt: skip
def test_due_forms(text, expected):
    assert parse_due(text, WEDNESDAY) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call mum due in 3 days", Draft("call mum", due=date(2026, 11, 7))),
        ("due:fri call mum", Draft("call mum", due=date(2026, 11, 6))),
        ("due next week call", Draft("call", due=date(2026, 11, 9))),
        ("x after A1-1, B2-2,C3-3 then rest", Draft("x then rest", after=["A1-1", "B2-2", "C3-3"])),
        ("x after A1-1 after A1-1", Draft("x", after=["A1-1"])),
        ("x @OPS ~1d4h #a #b #a", Draft("x", project="OPS", estimate=720, tags=["a", "b"])),
        ("rest after lunch", Draft("rest after lunch")),
        ("pay rent due to landlord", Draft("pay rent due to landlord", unparsed=["due"])),
        ("a duel", Draft("a duel")),
        ("x due 2026-13-45 y", Draft("x due 2026-13-45 y", unparsed=["due 2026-13-45"])),
        ("x due +3parsecs", Draft("x due +3parsecs", unparsed=["due +3parsecs"])),
        ("x due:2026-13-45", Draft("x due:2026-13-45", unparsed=["due:2026-13-45"])),
        ("x !wat ~soon @you", Draft("x !wat ~soon @you", unparsed=["!wat", "~soon", "@you"])),
        ("x !low !high", Draft("x !high", priority="low", unparsed=["!high"])),
        ("fix #123", Draft("fix #123", unparsed=["#123"])),
        ('look at "#1 bug due today"', Draft("look at #1 bug due today")),
        (r"say \#hash \!high", Draft("say #hash !high")),
        ('don\'t "open', Draft('don\'t "open')),
        ('due "fri"', Draft("due fri", unparsed=["due"])),
        ("!h #ü", Draft("", priority="high", tags=["ü"])),
        ("", Draft("")),
    ],
)  # fmt: skip
def test_lines(text, expected):
    assert capture(text, WEDNESDAY) == expected


WORDS = st.sampled_from(
    [
        "due",
        "due:",
        "after",
        "fri",
        "in",
        "3",
        "days",
        "+9d",
        "!h",
        "!",
        "#",
        "#a",
        "~",
        "~2h",
        "@K1",
        "PLAN-1",
        ",",
        '"',
        "\\",
        "x",
    ]
)


@settings(deadline=None)
@given(st.text(max_size=200) | st.lists(WORDS, max_size=12).map(" ".join), st.dates())
def test_any_text_is_taken_and_no_word_is_lost(text, today):
    found = capture(text, today)
    assert capture(text, today) == found
    assert found.title == " ".join(found.title.split())
    if '"' not in text and "\\" not in text:
        rest = [word for word in text.split() if word not in found.title.split()]
        taken = len(found.tags) + len(found.after) + bool(found.due) + bool(found.estimate is not None)
        assert len(rest) == 0 or taken + bool(found.priority) + bool(found.project)
        assert all(part in found.title for part in found.unparsed)
