"""A JSON Schema as options, and their texts as values."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.api import Duration
from coder_local.cli import members, operation, schema
from coder_local.cli.errors import Failure

PYTHON = {"string": str, "integer": int, "number": float | int, "boolean": bool}


def field(part: dict, *, required: bool = False, **more) -> schema.Field:
    whole = {"type": "object", "properties": {"it": part}, "required": ["it"] if required else [], **more}
    return schema.fields(whole)[0]


@pytest.mark.parametrize(
    ("part", "kind", "nullable"),
    [
        ({"type": "string"}, "string", False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer", True),
        ({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/T"}]}, "object", True),
        ({"type": ["number", "null"]}, "number", True),
        ({"type": ["number", "string"]}, "any", False),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "any", False),
        ({"enum": ["a", "b"]}, "string", False),
        ({"enum": ["a", None]}, "string", True),
        ({"enum": [1, 2]}, "any", False),
        ({"const": "a"}, "string", False),
        ({"$ref": "#/$defs/T"}, "object", False),
        ({"$ref": "#/$defs/Loop"}, "any", False),
        ({"$ref": "elsewhere"}, "any", False),
        ({}, "any", False),
    ],
)
def test_the_type_of_a_field_is_found_through_references_and_null(part, kind, nullable):
    definitions = {"T": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}}
    found = field(part, **{"$defs": definitions})
    assert (found.type, found.nullable) == (kind, nullable)


def test_the_input_itself_may_be_a_reference():
    definition = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}, "required": ["a"]}
    found = schema.fields({"$ref": "#/$defs/Input", "$defs": {"Input": definition}})
    assert [each.name for each in found] == ["a", "b"]


def test_a_description_beside_a_reference_wins():
    found = field(
        {"$ref": "#/$defs/T", "description": "mine"}, **{"$defs": {"T": {"type": "object", "description": "its"}}}
    )
    assert found.schema["description"] == "mine"


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        ({"type": "integer"}, "-12", -12),
        ({"type": "integer"}, "1.5", "1.5"),
        ({"type": "integer"}, "\u0663", "\u0663"),
        ({"type": "number"}, "12", 12),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "number"}, "nan", "nan"),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "perhaps", "perhaps"),
        ({"type": "string"}, "12", "12"),
        ({"type": "string"}, "2h", "2h"),
        ({"type": "string", "format": "duration"}, "2h", "PT2H"),
        ({"type": "string", "format": "duration"}, "90m", "PT90M"),
        ({"type": "string", "format": "duration"}, "1h30m", "PT1H30M"),
        ({"type": "string", "format": "duration"}, "1h 30 min", "PT1H30M"),
        ({"type": "string", "format": "duration"}, "2d", "P2D"),
        ({"type": "string", "format": "duration"}, "1W2D 45S", "P1W2DT45S"),
        ({"type": "string", "format": "duration"}, "0h", "PT0H"),
        ({"type": "string", "format": "duration"}, "PT2H", "PT2H"),
        ({"type": "string", "format": "duration"}, "2", "2"),
        ({"type": "string", "format": "duration"}, "h", "h"),
        ({"type": "string", "format": "duration"}, "", ""),
        ({"type": "string", "format": "duration"}, "30m1h", "30m1h"),
        ({"type": "array", "items": {"type": "string", "format": "duration"}}, "2h", ["PT2H"]),
        ({"anyOf": [{"type": "string", "format": "duration"}, {"type": "null"}]}, "2h", "PT2H"),
        ({}, "12", 12),
        ({}, "twelve", "twelve"),
        ({}, "NaN", "NaN"),
        ({}, "[" * 100_000, "[" * 100_000),
        ({"type": "array", "items": {"type": "string"}}, "[1", ["[1"]),
        ({"type": "array", "items": {"type": "integer"}}, "3", [3]),
        ({"type": "array", "items": {"type": "integer"}}, "[3, 4]", [3, 4]),
        ({"type": "array", "items": {"type": "object"}}, '{"a": 1}', [{"a": 1}]),
    ],
)
def test_a_text_becomes_the_value_it_means_or_stays_for_the_daemon_to_refuse(part, text, value):
    assert schema.value_of(field(part), text) == value


def test_what_must_be_json_and_is_not_is_refused_with_its_field():
    with pytest.raises(Failure, match="it is JSON, and this is not") as caught:
        schema.value_of(field({"type": "object"}), "{")
    assert (caught.value.field, caught.value.exit_code) == ("/it", 2)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_any_json_can_be_given_to_a_field_of_any_type(value):
    assert schema.value_of(field({}), json.dumps(value)) == value
    assert schema.value_of(field({"type": "object"}), json.dumps({"a": value})) == {"a": value}


@given(st.text(), st.sampled_from(list(PYTHON)))
def test_no_text_is_too_odd_for_a_plain_field(text, kind):
    value = schema.value_of(field({"type": kind}), text)
    assert value == text or isinstance(value, PYTHON[kind])


@pytest.mark.parametrize(
    ("properties", "required", "names"),
    [
        ({"id": {"type": "string"}, "text": {"type": "string"}}, ["id", "text"], ["id", "text"]),
        ({"text": {"type": "string"}, "more": {"type": "string"}}, ["text"], ["text"]),
        ({"ids": {"type": "array", "items": {"type": "string"}}}, ["ids"], ["ids"]),
        ({"a": {"type": "string"}, "b": {"type": "string"}}, ["a", "b"], ["a", "b"]),
        ({"count": {"type": "integer"}}, ["count"], ["count"]),
        ({name: {"type": "string"} for name in "abcd"}, list("abcd"), ["a", "b", "c"]),
        ({"a": {}, "on": {"type": "boolean"}, "b": {"type": "object"}}, ["a", "on", "b"], ["a"]),
        ({"tags": {"type": "array", "items": {"type": "string"}}, "a": {}}, ["tags", "a"], ["a", "tags"]),
        ({"project": {"type": "string"}, "today": {"type": "string"}}, [], ["project"]),
        ({"change_set": {"type": "integer"}, "if_rev": {"type": "integer"}}, [], ["change_set"]),
        ({"project": {"type": "string"}, "cursor": {"type": "string"}}, [], []),
        ({"format": {"enum": ["a", "b"]}, "path": {"type": "string"}}, [], []),
        ({"level": {"enum": ["a", "b"]}}, [], ["level"]),
        ({"tags": {"type": "array", "items": {"type": "string"}}}, [], []),
        ({"if_rev": {"type": "integer"}}, [], []),
    ],
)
def test_the_first_required_values_need_no_option_else_the_first_of_all(properties, required, names):
    found = schema.fields({"type": "object", "properties": properties, "required": required})
    assert [each.name for each in operation.positional(found)] == names


@pytest.mark.parametrize(
    ("part", "can_be"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, False),
        ({"type": "array", "items": {}}, True),
        ({"type": "array", "items": {}, "default": []}, False),
        ({"type": "string"}, False),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
    ],
)
def test_only_what_keeps_its_value_when_left_out_has_an_option_to_empty_it(part, can_be):
    assert field(part).can_be_emptied is can_be


SPAN = {"type": "object", "properties": {"likely": {"type": "integer"}, "high": {}}, "required": ["likely"]}
LINE = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "done": {"type": "boolean"}},
    "required": ["text"],
}


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        (SPAN, "120", {"likely": 120}),
        (SPAN, "soon", {"likely": "soon"}),
        (SPAN, ' {"high": 3}', {"high": 3}),
        ({"type": "array", "items": LINE}, "buy milk", [{"text": "buy milk"}]),
        ({"type": "array", "items": LINE}, '{"text": "a", "done": true}', [{"text": "a", "done": True}]),
        ({"type": "array", "items": LINE}, '[{"text": "a"}]', [{"text": "a"}]),
    ],
)
def test_a_plain_text_is_the_only_required_member(part, text, value):
    assert schema.value_of(field(part), text) == value


@pytest.mark.parametrize("part", [{"type": "object"}, {**LINE, "required": ["text", "done"]}, {**LINE, "required": []}])
def test_a_plain_text_for_any_other_object_is_refused(part):
    with pytest.raises(Failure):
        schema.value_of(field(part), "buy milk")


def test_what_is_no_json_is_answered_with_the_members_and_an_example_that_is_right():
    part = {**SPAN, "properties": {**SPAN["properties"], "unit": {"enum": ["h", "d"]}}, "required": ["likely", "unit"]}
    with pytest.raises(Failure) as caught:
        schema.value_of(field(part), "{likely: 3}")
    hint = caught.value.hint
    assert "its members are likely N (required), unit h|d (required), high VALUE" in hint
    assert schema.value_of(field(part), hint.split("'")[1]) == {"likely": 60, "unit": "h"}


def test_a_schema_that_holds_itself_has_an_end():
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "below": {"$ref": "#/$defs/Tree"}}}
    found = field({"$ref": "#/$defs/Tree"}, **{"$defs": {"Tree": tree}})
    assert max(path.count(".") for path, _ in members.dotted(found)) == 3


def test_limits_are_said_in_words():
    assert field({"type": "integer", "minimum": 1, "maximum": 5}).limits() == "1 to 5"
    assert field({"type": "integer", "minimum": 1}).limits() == "at least 1"
    assert field({"type": "string", "maxLength": 9}).limits() == "at most 9 characters"
    assert field({"type": "string", "maxLength": 100_000}).limits() == ""
    assert (
        field({"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 2}}).limits()
        == "1 to 2 characters"
    )


@given(
    st.from_regex(r"(?=[0-9])([0-9]{1,3}w)?([0-9]{1,3}d)?([0-9]{1,3}h)?([0-9]{1,3}m)?([0-9]{1,3}s)?", fullmatch=True)
)
def test_a_span_as_people_write_it_is_a_duration_of_the_wire(span):
    value = schema.value_of(field({"type": "string", "format": "duration"}), span)
    assert msgspec.convert(value, Duration) == value
    assert re.findall(r"\d+", value) == [str(int(number)) for number in re.findall(r"\d+", span)]


@pytest.mark.parametrize(("text", "minutes"), [("2h", 120), ("90m", 90), ("1h30m", 90)])
def test_a_span_where_a_whole_number_belongs_is_refused_with_the_number(text, minutes):
    with pytest.raises(Failure) as caught:
        schema.value_of(field({"type": "integer"}), text)
    assert caught.value.hint == f"{text} is {minutes} minutes: give {minutes} where it counts minutes"
    assert schema.value_of(field({"type": "integer"}), "2d") == "2d"


def test_a_path_is_taken_from_the_current_folder_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    path = field({"type": "string", "format": "path"})
    assert schema.value_of(path, "a/b.md") == str(tmp_path / "a" / "b.md")
    assert schema.value_of(path, "~/b.md") == str(tmp_path / "home" / "b.md")
    assert schema.value_of(path, str(tmp_path)) == str(tmp_path)
    assert schema.value_of(path, "") == ""
    assert operation.field_value(path, "@odd") == str(tmp_path / "@odd")
    with pytest.raises(Failure, match="nobody-of-that-name"):
        schema.value_of(path, "~nobody-of-that-name/b.md")
