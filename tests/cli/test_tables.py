"""Answers as text: never wider than the terminal, never steering it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.cli import tables

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())
ROWS = st.lists(st.dictionaries(st.text(min_size=1, max_size=12), VALUES), min_size=1, max_size=5)


def columns(line: str) -> int:
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in line)
    marks = sum(bool(unicodedata.combining(sign)) or unicodedata.category(sign) in {"Mn", "Me", "Cf"} for sign in line)
    return len(line) + wide - marks


@given(ROWS, st.integers(20, 200))
def test_a_table_fits_the_terminal_and_has_a_line_for_each_row(rows, width):
    lines = tables.table(rows, width).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(columns(line) <= width for line in lines)


@given(st.recursive(VALUES, lambda part: st.lists(part) | st.dictionaries(st.text(), part)), st.integers(20, 80))
def test_no_answer_can_steer_the_terminal(value, width):
    text = tables.render(value, width)
    assert not {unicodedata.category(sign) for sign in text if sign != "\n"} & {"Cc", "Cs"}
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


def test_what_steers_is_shown():
    assert tables.clean("a\x1b[31m\u202eb\nc") == "a\\u001b[31m\\u202eb c"


def test_columns_that_tell_most_come_first_and_the_others_give_way():
    rows = [
        {
            "id": "1" * 36,
            "workspace_id": "w",
            "body": "x" * 80,
            "title": "one",
            "status": "open",
            "empty": None,
            "deep": {},
        },
        {"id": "2" * 36, "workspace_id": "w", "body": "y\nz", "title": "two", "status": "done", "deep": {"a": 1}},
    ]
    wide = tables.table(rows, 200).splitlines()
    assert wide[0].split() == ["id", "title", "status", "body", "deep"]
    assert wide[2].split()[-3:] == ["y", "…", "1"]
    assert tables.table(rows, 30).splitlines()[0].split() == ["id", "title", "status"]


def test_a_key_for_people_stands_for_the_id():
    assert tables.table([{"id": "0193", "key": "AB-1"}], 80) == "key\nAB-1"


def test_a_record_in_a_row_is_called_by_its_name():
    rows = [
        {
            "score": 2.5,
            "terms": [{"name": "due", "value": 1.5}, {"name": "age", "value": 1}],
            "task": {"key": "AB-1", "title": "a"},
        }
    ]
    assert tables.table(rows, 80).splitlines() == ["task    score  terms", "AB-1 a  2.5    due 1.5, age 1"]


def test_wide_letters_take_two_columns():
    assert tables.table([{"a": "日本", "b": "x"}, {"a": "long", "b": "y"}], 80).splitlines() == [
        "a     b",
        "日本  x",
        "long  y",
    ]
    assert tables.table([{"a": "日本語" * 30}], 20).splitlines()[1] == "日本語日本語日本語…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "done"),
        ([], "nothing found"),
        ({"items": [], "next_cursor": None}, "nothing found"),
        ({"items": [{"a": 1}], "next_cursor": "c"}, "a\n1\n\nmore: --cursor c"),
        (["a", 1, True, None], "a\n1\nyes\n"),
        ({"title": "a\nb", "n": 1, "none": None}, "title  a\n       b\nn      1"),
        ({"total": 2, "rows": [{"a": 1}, {"a": 2}]}, "total  2\n\nrows:\na\n1\n2"),
        ("text", "text"),
        (0.1 + 0.2, "0.3"),
        ({}, "nothing"),
    ],
)
def test_an_answer_is_shown_by_its_shape(value, text):
    assert tables.render(value, 80) == text


def test_a_time_is_shown_in_the_local_zone(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert tables.moment("2026-11-20T23:15:27.123Z") == "2026-11-21 01:15"
        assert tables.moment("9999-99-99T00:00:00Z") == "9999-99-99T00:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()
