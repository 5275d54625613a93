"""What the texts and the nesting of an input may be, and what is said of a word that is no choice."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from coder_local._registry.signature import DEPTH_LIMIT, Parameter, Signature
from coder_local.api import Invalid


def signature(type_: Any) -> Signature:
    return Signature([Parameter("value", type_, None)], int, envelope=False, name="t.t")


def nested(depth: int) -> bytes:
    return b'{"value": ' + b"[" * (depth - 1) + b'"x"' + b"]" * (depth - 1) + b"}"


def test_a_text_about_the_escape_of_nul_is_no_nul() -> None:
    text = r"write \u0000 for NUL"
    assert signature(str).decode(json.dumps({"value": text}).encode()).value == text


def test_nul_is_refused_wherever_it_stands() -> None:
    with pytest.raises(Invalid) as caught:
        signature(Any).decode(json.dumps({"value": [{"a": "x\0"}]}).encode())
    assert caught.value.field == "/value/0/a"


def test_nesting_is_limited_and_brackets_in_texts_are_none() -> None:
    assert signature(Any).decode(nested(DEPTH_LIMIT)).value
    with pytest.raises(Invalid, match="nested deeper than 64"):
        signature(Any).decode(nested(DEPTH_LIMIT + 1))
    text = '[{"' * 1_000
    assert signature(Any).decode(json.dumps({"value": text}).encode()).value == text


@pytest.mark.parametrize(
    ("word", "hint"), [("beeds", "did you mean beads?"), ("xyz", "give one of beads, vtodo"), (3, None)]
)
def test_a_word_that_is_no_choice_gets_the_nearest_one(word: object, hint: str | None) -> None:
    choosing = signature(Literal["beads", "vtodo"] | None)
    with pytest.raises(Invalid) as caught:
        choosing.decode(json.dumps({"value": word}).encode())
    assert (caught.value.field, caught.value.hint) == ("/value", hint)
