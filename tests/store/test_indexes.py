"""An index of some records serves the look-ups that ask for just those."""

from __future__ import annotations

import pytest

from coder_local.api import DeclarationError, Domain, Index, Record
from coder_local.testing import sandbox

domain = Domain("post")


@domain.table("letters", indexes=(("town",), Index(fields=("urgency",), where="state = 'waiting'")))
class Letter(Record):
    """One letter."""

    town: str
    state: str
    urgency: int


def test_an_index_of_some_records_serves_who_asks_for_just_those() -> None:
    with sandbox(domain) as box:
        with box.tx() as tx:
            for number in range(20):
                tx.insert(Letter(town="Bern", state="waiting" if number % 2 else "sent", urgency=number))
        plan = box.snapshot().rows(
            "SELECT max(urgency) FROM post_letters WHERE state = 'waiting' AND deleted_at IS NULL AND urgency < 12"
        )
        assert plan == [(11,)]
        with box.tx() as tx:
            (said,) = tx.rows(
                "WITH plan AS (SELECT sql FROM sqlite_master WHERE name = 'post_letters_by_urgency') SELECT * FROM plan"
            )
        assert said[0].endswith("(urgency, id) WHERE state = 'waiting' AND deleted_at IS NULL")


def test_an_index_names_fields_that_there_are() -> None:
    with pytest.raises(DeclarationError, match="has no field 'colour'"):

        @Domain("post").table("cards", indexes=(Index(fields=("colour",)),))
        class Card(Record):
            """One card."""

            town: str
