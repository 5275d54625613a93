import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_local.api import ranks

SMALLEST = "A" + "0" * 26


def test_a_drag_between_two_neighbours_makes_one_key_between_them():
    assert ranks.between("a0", "a1") == "a0V"
    assert ranks.between(None, "a0") == "Zz"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, "a0"), ("a0", None, "a1"), ("az", None, "b00"), ("Zz", None, "a0"), ("bzz", None, "c000"),
        ("Yzz", None, "Z0"), (None, "Z0", "Yzz"), (None, "b00", "az"), (None, "Yzz", "Yzy"), ("Zz", "a0", "ZzV"),
        ("Zz", "a1", "a0"), ("a0", "a0V", "a0G"), ("a0", "a0G", "a08"), ("b125", "b129", "b127"), ("a0", "a1V", "a1"),
        (None, "a0V", "a0"), ("a1", "a2", "a1V"), ("a0V", "a1", "a0l"), (None, SMALLEST + "V", SMALLEST + "G"),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzy", None, "zzzzzzzzzzzzzzzzzzzzzzzzzzz"),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzz", None, "zzzzzzzzzzzzzzzzzzzzzzzzzzzV"),
    ],
)  # fmt: skip
def test_keys_are_those_of_the_published_algorithm(before, after, expected):
    assert ranks.between(before, after) == expected


def test_sequence_spreads_keys_between_two():
    assert ranks.sequence(None, None, 5) == ["a0", "a1", "a2", "a3", "a4"]
    assert ranks.sequence("a4", None, 3) == ["a5", "a6", "a7"]
    assert ranks.sequence(None, "a0", 3) == ["Zx", "Zy", "Zz"]
    assert ranks.sequence("a0", "a2", 3) == ["a0V", "a1", "a1V"]
    assert ranks.sequence("a0", "a1", 0) == []


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("a1", "a0", "sort before"), ("a1", "a1", "sort before"), ("a00", None, "end in"), ("b0", None, "too short"),
        ("", None, "start with"), ("0a", None, "start with"), ("a-", None, "allowed"), (SMALLEST, None, "bottom"),
        ("a\u0661", None, "allowed"), ("a0\x00", None, "allowed"),
    ],
)  # fmt: skip
def test_a_malformed_rank_is_refused_with_the_cure(before, after, word):
    with pytest.raises(ValueError, match=word):
        ranks.between(before, after)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count"):
        ranks.sequence(None, None, -1)


def test_something_fits_before_the_lowest_integer():
    lowest = "A" + "0" * 25 + "1"
    found = ranks.between(None, lowest)
    assert found < lowest
    assert ranks.between(None, found) < found


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=120))
def test_a_key_is_strictly_between_and_its_fraction_never_ends_in_zero(places):
    keys: list[str] = []
    for place in places:
        at = place % (len(keys) + 1)
        new = ranks.between(keys[at - 1] if at else None, keys[at] if at < len(keys) else None)
        assert ranks.validate(new) == new
        keys.insert(at, new)
    assert keys == sorted(set(keys))


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 20), st.integers(1, 20))
def test_a_sequence_is_ascending_and_inside(count, low, gap):
    before, after = ranks.sequence(None, None, low + gap + 1)[low], ranks.sequence(None, None, low + gap + 1)[-1]
    found = ranks.sequence(before, after, count)
    assert len(found) == count
    assert [before, *found, after] == sorted({before, *found, after})


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_either_refused_or_answered_in_order(one, other):
    try:
        found = ranks.between(one, other)
    except ValueError:
        return
    assert one < found < other
