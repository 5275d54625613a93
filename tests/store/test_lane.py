"""The reader's thread: what is cancelled ends, and what goes wrong with one answer harms no other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from coder_local._store.lane import Lane

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n WHERE i < 0"


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(sqlite3.connect(":memory:", check_same_thread=False), "lane")
    yield lane
    lane.stop()


def test_a_read_that_is_cancelled_before_its_statement_has_begun_ends(lane: Lane) -> None:
    begun, go_on = threading.Event(), threading.Event()
    answers: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> list[Any]:
        begun.set()
        go_on.wait()
        return lane.connection.execute(ENDLESS).fetchall()

    token = lane.submit(work, lambda _, error: answers.put(error))
    assert begun.wait(10)
    token.interrupt()
    go_on.set()
    error = answers.get(timeout=30)
    assert isinstance(error, sqlite3.OperationalError)
    assert error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT


def test_a_read_that_is_cancelled_while_it_waits_is_not_run(lane: Lane) -> None:
    go_on = threading.Event()
    answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    ran: list[int] = []
    lane.submit(go_on.wait, lambda *answer: answers.put(answer))
    token = lane.submit(lambda: ran.append(1), lambda *answer: answers.put(answer))
    token.interrupt()
    go_on.set()
    assert answers.get(timeout=30) == (True, None)
    assert isinstance(answers.get(timeout=30)[1], sqlite3.OperationalError)
    assert ran == []


def test_an_answer_that_cannot_be_given_does_not_end_the_lane(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    answers: SimpleQueue[Any] = SimpleQueue()

    def fail(*_: Any) -> None:
        raise ValueError("nobody listens")

    lane.submit(lambda: 1, fail)
    lane.submit(lambda: 2, lambda result, _: answers.put(result))
    assert answers.get(timeout=30) == 2
    assert "nobody listens" in caplog.text
