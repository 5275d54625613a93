"""Answers as text: never wider than the terminal, never steering it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.cli import phrases, tables

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
    assert wide[2].split()[-3:] == ["…", "a", "1"]
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


ID = "01a1fa1b-bfeb-76c4-a777-26929f89b48e"
TASK = {
    "id": ID, "workspace_id": "default", "created_at": "2026-11-20T17:58:05.035Z", "rev": 2, "origin": "user",
    "meta": {"hash": "0123456789abcdef" * 8}, "key": "HOME-1", "project": ID, "missed": 0, "rank": "a0",
    "title": "Repair the garden fence before the storms", "status": "todo", "priority": "high", "due": "2026-12-01",
}  # fmt: skip


def test_the_title_of_a_row_has_the_most_room_and_what_says_little_goes():
    rows = [TASK, {**TASK, "key": "HOME-2", "title": "short", "source": "f" * 64}]
    head, first, _ = tables.table(rows, 80).splitlines()
    assert head.split() == ["key", "title", "status", "priority", "due"]
    assert "Repair the garden fence before" in first
    assert tables.table(rows, 120).splitlines()[0].split()[-1] == "missed"
    assert TASK["title"] in tables.table(rows, 120)


def test_an_id_that_is_the_only_name_is_shown_whole():
    rows = [{"id": ID, "source": ID, "target": ID, "kind": "blocks", "note": "x" * 90}]
    assert tables.table(rows, 80).splitlines()[1].split()[:2] == [ID, "blocks"]
    assert tables.table(rows, 130).splitlines()[0].split() == ["id", "kind", "source", "target"]


def test_a_record_is_shown_with_what_matters_first_and_its_meta_cut_to_a_line():
    lines = tables.render(TASK, 80).splitlines()
    assert [line.split()[0] for line in lines] == [
        "key", "title", "status", "priority", "due", "project", "missed", "id", "rev", "created_at", "meta",
    ]  # fmt: skip
    assert (len(lines[-1]), lines[-1][-1]) == (80, "…")


def test_settings_are_shown_with_their_names():
    value = {"items": [{"plugin": "a", "values": {"one": 1, "two": None}}, {"plugin": "b", "values": {"three": "x"}}]}
    assert tables.render(value, 80).splitlines() == [
        "plugin  name   value",
        "a       one    1",
        "a       two",
        "b       three  x",
    ]


def test_members_of_an_object_in_a_cell_have_their_names():
    rows = [{"id": "a", "estimate": {"likely": 120, "low": None}, "parts": [{"a": 1, "b": 2}, {"a": 3}]}]
    assert tables.table(rows, 80).splitlines()[1] == "a   likely 120  a 1, b 2; a 3"


def test_sentences_have_a_line_each():
    value = {"steps": ["it is due", "it blocks, too"], "tags": ["a", "b"]}
    assert tables.render(value, 80).splitlines() == ["steps  it is due", "       it blocks, too", "tags   a, b"]
    long = "no estimate " * 20
    shown = tables.render({"notes": [{"task": "A-1", "text": long}, {"text": "milk", "done": True}]}, 40)
    assert shown.splitlines() == ["notes:", f"A-1: {long}", "done: milk"]


def test_an_undo_says_in_words_what_it_took_back():
    title = {"field": "title", "before": "a", "after": "b"}
    change = {"seq": 1, "action": "updated", "record": "x.y", "id": ID, "fields": [title]}
    value = {"change_set": 6, "operation": "x.update", "count": 12, "undone": [change] * 12}
    lines = phrases.of("changes.undo", value, 80).splitlines()
    assert lines[0] == "took back x.update (change set 6), which wrote 12 records"
    assert lines[2].split() == ["action", "name", "record", "fields"]
    assert lines[3].split() == ["updated", "a", "x.y", "title"]
    assert (len(lines), lines[-1]) == (14, "… and 2 more")
    assert phrases.of("other", value, 80) is None


def test_changes_are_listed_by_the_number_that_undo_takes():
    created = [{"field": "key", "before": None, "after": "A-1"}, {"field": "title", "before": None, "after": "\x1bt"}]
    change = {"change_set": 6, "at": "", "actor": "user", "operation": "x.create", "action": "created", "id": ID}
    value = {"items": [{**change, "record": "x.y", "fields": created}], "next_cursor": "6"}
    lines = phrases.of("changes.list", value, 100).splitlines()
    assert lines[1].split() == ["6", "x.create", "created", "A-1", "\\u001bt", "x.y", "user"]
    assert lines[-1] == "more: --cursor 6"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "done"),
        ([], "nothing found"),
        ({"items": [], "next_cursor": None}, "nothing found"),
        ({"items": [{"a": 1}], "next_cursor": "c"}, "a\n1\n\nmore: --cursor c"),
        (["a", 1, True, None], "a\n1\nyes\n"),
        ({"title": "a\nb", "n": 1, "none": None}, "title  a\n       b\nn      1"),
        ({"estimate": {"likely": 2, "low": None}}, "estimate  likely 2"),
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
