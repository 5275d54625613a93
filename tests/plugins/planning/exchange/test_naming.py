"""Naming the project that an import makes."""

from __future__ import annotations

import pytest

from coder_plugins.planning.exchange.rules import naming


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("/home/ada/beads.md", "BEADS"),
        ("/home/ada/vtodo-small.md", "VTODOSMALL"),
        ("/home/ada/checklist for the move.md", "CHECKLIST"),
        ("/home/ada/a very internationalised list.md", "AVERY"),
        ("/home/ada/internationalised-lists.md", "IL"),
        ("/home/ada/internationalisation.md", "INTE"),
        ("/home/ada/2026 Pläne.md", "PLANE"),
        ("/home/ada/7.md", "LIST"),
        ("/home/ada/計画.md", "LIST"),
        (None, "LIST"),
    ],
)
def test_a_key_reads_like_the_name(file: str | None, key: str) -> None:
    assert naming.place_of("markdown", [], file).key == key


def test_a_key_that_is_taken_or_reserved_gets_a_number() -> None:
    assert naming.free_key("TASK", lambda _: False) == "TASK2"
    assert naming.free_key("CHECKLISTS", lambda key: key in {"CHECKLISTS", "CHECKLIST2"}) == "CHECKLIST3"
