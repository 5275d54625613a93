"""The plugin that ends the daemon is found in few starts, and an innocent one is not held responsible for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local._daemon import suspicion
from coder_local._daemon.suspicion import Record, Start


class Life:
    """Starts of a daemon with some plugins, one of which may end it."""

    def __init__(self, names: list[str], culprit: str | None, *, named: bool) -> None:
        self.names = names
        self.culprit = culprit
        self.named = named
        self.record = Record()
        self.set_aside: set[str] = set()

    def start(self, *, killed: bool = False, at: str = "") -> tuple[bool, list[str]]:
        """Return whether the start came to its end, and which plugins it left out."""
        tried = [name for name in self.names if name not in self.set_aside]
        out = suspicion.begin(self.record, tried)
        for name in list(self.record.guilty):
            self.set_aside.add(name)
            suspicion.acquit(self.record, name)
        loaded = [name for name in tried if name not in out]
        assert self.record.open is not None
        assert self.record.open.loading == loaded
        if killed:
            self.record.open.at_work = at
            return False, [*self.set_aside, *out]
        if self.culprit in loaded:
            self.record.open.at_work = self.culprit if self.named and self.culprit else ""
            return False, [*self.set_aside, *out]
        suspicion.clean(self.record)
        return True, sorted({*self.set_aside, *out})


def many(number: int) -> list[str]:
    return [f"p{index}" for index in range(number)]


def test_the_one_at_work_in_two_failed_starts_is_left_out_of_the_third_and_the_others_run() -> None:
    life = Life(many(6), "p4", named=True)
    assert [life.start() for _ in range(3)] == [(False, []), (False, []), (True, ["p4"])]
    assert life.record.held["p4"].reason.startswith("2 starts of the daemon ended")


def test_it_is_tried_again_after_two_clean_starts_and_set_aside_for_good_when_it_does_it_again() -> None:
    life = Life(many(3), "p1", named=True)
    ended = [life.start()[0] for _ in range(7)]
    assert ended == [False, False, True, True, False, True, True]
    assert life.set_aside == {"p1"}


def test_the_person_who_kills_two_starts_condemns_nobody() -> None:
    life = Life(many(3), None, named=False)
    life.start(killed=True, at="p1")
    life.start(killed=True, at="p1")
    assert [life.start() for _ in range(4)] == [(True, ["p1"]), (True, ["p1"]), (True, []), (True, [])]
    assert life.record == Record(clean=4)


def test_two_clean_starts_after_one_that_failed_clear_the_record() -> None:
    life = Life(many(3), None, named=False)
    life.start(killed=True)
    assert [life.start()[1] for _ in range(2)] == [[], []]
    life.start(killed=True)
    assert life.start() == (True, [])
    life.start(killed=True)
    assert life.record.suspects == []
    assert life.start()[1] != []  # that is two of three, so one is looked for


def test_a_start_that_was_asked_to_stop_says_nothing() -> None:
    record = Record()
    for _ in range(5):
        assert suspicion.begin(record, many(3)) == {}
        suspicion.leave(record)
    assert record == Record()


@pytest.mark.parametrize("named", [False, True])
@given(number=st.integers(1, 40), data=st.data())
def test_whoever_it_is_is_found_and_in_the_end_all_others_run(named: bool, number: int, data: st.DataObject) -> None:
    culprit = data.draw(st.sampled_from(many(number)))
    life = Life(many(number), culprit, named=named)
    bound = 3 if named else 3 + math.ceil(math.log2(number))
    found = next(count for count in range(1, 60) if life.start() == (True, [culprit]))
    assert found <= bound
    for _ in range(6):
        life.start()
    assert life.set_aside == {culprit}
    assert life.start() == (True, [culprit])


@given(kills=st.lists(st.booleans(), max_size=40), names=st.integers(1, 8), data=st.data())
def test_kills_of_the_person_never_keep_a_plugin_out_once_she_stops(
    kills: list[bool], names: int, data: st.DataObject
) -> None:
    life = Life(many(names), None, named=False)
    for kill in kills:
        life.start(killed=kill, at=data.draw(st.sampled_from(["", *many(names)])) if kill else "")
    life.start()  # judges the last kill
    good = set(life.set_aside)  # by three kills that all hit it: then the person must enable it
    for _ in range(20):
        last = life.start()
    assert last == (True, sorted(good))
    assert life.set_aside == good, "nobody is condemned by a start that was not killed"


def test_a_plugin_that_is_gone_is_no_suspect_any_more() -> None:
    record = Record(suspects=["a", "b", "c"], failed=[Start(["a", "b", "c"])] * 2)
    assert set(suspicion.begin(record, ["d"])) == set()
    assert record.suspects == []
