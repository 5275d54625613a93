"""Masking: what is fed in pieces comes out as the whole in one piece would."""

from __future__ import annotations

import base64
import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from coder_plugins.execution.processes.forms import find_forms
from coder_plugins.execution.processes.shim.mask import Masker

# few letters, so that values overlap, repeat themselves, and begin where others end
letters = st.sampled_from([b"a", b"b", b"c"])
values = st.lists(st.lists(letters, min_size=1, max_size=5).map(b"".join), max_size=4)
texts = st.lists(letters, max_size=60).map(b"".join)


def in_pieces(masker: Masker, text: bytes, cuts: list[int]) -> bytes:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [masker.feed(text[a:b]) for a, b in itertools.pairwise(places)]
    return b"".join(pieces) + masker.finish()


@given(values, texts, st.lists(st.integers(0, 1000), max_size=12))
def test_pieces_give_what_the_whole_gives(secrets, text, cuts):
    longest_first = sorted(set(secrets), key=len, reverse=True)
    expected = re.sub(b"|".join(longest_first), b"***", text) if secrets else text
    assert in_pieces(Masker(secrets), text, cuts) == expected


@given(values, texts)
def test_no_more_is_held_back_than_the_longest_value_less_one_byte(secrets, text):
    masker = Masker(secrets)
    longest = max(map(len, secrets), default=1)
    for byte in text:
        masker.feed(bytes((byte,)))
        assert len(masker._held) < longest


def test_the_longest_value_wins_where_two_begin():
    assert in_pieces(Masker([b"pass", b"password"]), b"password pass passwor", [4]) == b"*** *** ***wor"


def test_a_prompt_is_not_held_back_when_nothing_of_it_can_be_a_value():
    assert Masker([b"geheimnis" * 10]).feed(b"login: ") == b"login: "


def test_an_empty_value_masks_nothing():
    assert in_pieces(Masker([b"", *find_forms([""])]), b"abc", []) == b"abc"


@given(st.binary(max_size=8), st.text(min_size=8, max_size=20), st.binary(max_size=8))
def test_base64_is_masked_wherever_the_value_stands_in_it(before, secret, after):
    data = secret.encode("utf-8", "surrogatepass")
    if data != secret.encode("utf-8", "surrogateescape"):
        return
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + data + after)
        assert b"***" in in_pieces(Masker(find_forms([secret])), text, [len(text) // 2])


def test_escapes_and_lines_are_masked():
    forms = find_forms(['first line\nsecond "line" & more'])
    masker = Masker(forms)
    text = b"first line\r\n%0Asecond+%22line%22+%26+more first%20line%0Asecond%20%22line%22%20%26%20more"
    assert masker.feed(text + b"|") == b"***\r\n%0Asecond+%22line%22+%26+more ***|"


def test_a_short_line_of_a_value_is_no_secret():
    assert b"}" not in find_forms(['{\n"key": "0123456789"\n}'])
