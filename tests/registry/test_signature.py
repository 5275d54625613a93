"""Inputs: what fits is taken, and of what does not fit every fault is named with its place and a cure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local._registry.signature import Parameter, Signature
from coder_local.api import Instant, Invalid, LocalDate, Title, Value


class Leg(Value):
    start: str
    minutes: int = 0
    after: Leg | None = None


class Trip(Value):
    name: str
    legs: list[Leg] = []
    back: Leg | None = None


SIGNATURE = Signature(
    [
        Parameter("title", Title),
        Parameter("trip", Trip | None, None),
        Parameter("by_name", dict[str, Leg], {}),
        Parameter("at", Instant | None, None),
        Parameter("day", LocalDate | None, None),
        Parameter("tags", list[str], ["one"]),
        Parameter("meta", dict[str, Any], {}),
    ],
    Trip,
    envelope=True,
    name="trips.create",
)


def faults(**values: Any) -> dict[str, str | None]:
    with pytest.raises(Invalid) as caught:
        SIGNATURE.decode(json.dumps(values).encode())
    return {each["field"]: each.get("hint") for each in caught.value.data["faults"]}


def test_an_unknown_field_deep_inside_is_refused_with_a_guess() -> None:
    trip = {"name": "x", "legs": [{"start": "a"}, {"start": "b", "minuets": 5}], "back": {"start": "c", "zzz": 1}}
    assert faults(title="t", trip=trip) == {
        "/trip/legs/1/minuets": "did you mean minutes?",
        "/trip/back/zzz": "it has start, minutes, after",
    }
    assert faults(title="t", by_name={"a": {"start": "x", "strat": 1}}) == {"/by_name/a/strat": "did you mean start?"}


def test_unknown_fields_inside_are_named_together_with_other_faults() -> None:
    assert faults(trip={"name": "x", "nam": 1}, tags=5).keys() == {"/trip/nam", "/tags", "/title"}


def test_plain_values_are_looked_through_as_well() -> None:
    with pytest.raises(Invalid, match="no field"):
        SIGNATURE.convert({"title": "t", "trip": {"name": "x", "nam": 1}}, strict=True)


def test_free_json_may_hold_any_field() -> None:
    assert SIGNATURE.decode(b'{"title":"t","meta":{"a":{"b":1}}}').meta == {"a": {"b": 1}}


def test_a_default_list_is_kept_and_not_shared() -> None:
    first, second = SIGNATURE.decode(b'{"title":"a"}'), SIGNATURE.decode(b'{"title":"b"}')
    assert first.tags == second.tags == ["one"]
    assert first.tags is not second.tags


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-11-20T16:15:27Z", "2026-11-20T16:15:27.000Z"),
        ("2026-11-20T16:15:27.123456+01:00", "2026-11-20T15:15:27.123Z"),
    ],
)
def test_a_moment_is_kept_in_utc_with_milliseconds(given: str, kept: str) -> None:
    assert SIGNATURE.decode(json.dumps({"title": "t", "at": given}).encode()).at == kept


@pytest.mark.parametrize("moment", ["2026-11-20T16:15:27", "2026-13-20T16:15:27Z", "today", "2026-11-20", 5])
def test_a_time_without_a_zone_or_of_no_calendar_is_refused(moment: Any) -> None:
    assert faults(title="t", at=moment).keys() == {"/at"}


def test_a_day_that_does_not_exist_is_refused() -> None:
    assert faults(title="t", day="2026-02-30").keys() == {"/day"}


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_else(raw: bytes) -> None:
    try:
        SIGNATURE.decode(raw)
    except Invalid as error:
        assert error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["title", "trip", "at", "tags", "meta", "if_rev", "x"]), JSON, max_size=6))
def test_every_fault_has_a_place_in_the_input(values: dict[str, Any]) -> None:
    try:
        SIGNATURE.decode(json.dumps(values).encode())
    except Invalid as error:
        places = [fault["field"] for fault in error.data["faults"]]
    else:
        places = []
    assert {place.split("/")[1] if place else "" for place in places} <= {*values, "title", ""}


def test_a_wrong_form_is_told_by_an_example_not_by_a_regular_expression() -> None:
    with pytest.raises(Invalid) as caught:
        SIGNATURE.decode(b'{"title": "t", "day": "tomorrow"}')
    assert caught.value.message == "expected a day, such as 2026-11-20"
