"""The reader's thread: what is cancelled ends, and what goes wrong with one answer harms no other."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store.faults import OverDeadline
from coder_local._store.lane import Lane
from coder_local._store.scope import Caller, ReadScope
from coder_local.api import Locked

from .items import Item, domain, insert, make_tables

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
    assert isinstance(answers.get(timeout=30), (OverDeadline, sqlite3.OperationalError))


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


def test_a_strike_never_hits_the_function_after_and_leaves_no_snapshot_open(lane: Lane) -> None:
    for _ in range(200):
        begun = threading.Event()
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def loop(begun: threading.Event = begun) -> None:
            lane.connection.execute("BEGIN")
            begun.set()
            while True:
                pass

        token = lane.submit(loop, lambda *answer, answers=answers: answers.put(answer))
        lane.submit(lambda: lane.connection.in_transaction, lambda *answer, answers=answers: answers.put(answer))
        assert begun.wait(10)
        token.interrupt()
        token.interrupt()
        assert isinstance(answers.get(timeout=30)[1], OverDeadline)
        assert answers.get(timeout=30) == (False, None)


def test_a_strike_at_the_very_end_of_a_function_is_taken_back(lane: Lane) -> None:
    for _ in range(300):
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        token = lane.submit(lambda: 1, lambda *answer, answers=answers: answers.put(answer))
        lane.submit(lambda: sum(range(200)), lambda *answer, answers=answers: answers.put(answer))
        token.interrupt()
        result, error = answers.get(timeout=30)
        assert result == 1 or isinstance(error, (OverDeadline, sqlite3.OperationalError))
        assert answers.get(timeout=30) == (19900, None)


_STRIKES = """
import importlib, importlib.abc, importlib.util, queue, sqlite3, sys, time
from coder_local._store.lane import Lane

class Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "this_is" else None
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Empty())
lane, answers = Lane(sqlite3.connect(":memory:", check_same_thread=False), "lane"), queue.SimpleQueue()

def work():
    while True:
        sys.modules.pop("this_is", None)
        importlib.import_module("this_is")
        sum(range(2_000))

for number in range(500):
    token = lane.submit(work, lambda *answer: answers.put(answer))
    time.sleep(0.0002 + number % 17 / 100_000)
    token.interrupt()
    answers.get(timeout=30)
    sys.modules.pop("this_is", None)
    import this_is
"""


@pytest.mark.alone
def test_a_strike_leaves_no_lock_of_imports_taken() -> None:
    subprocess.run([sys.executable, "-c", _STRIKES], check=True, timeout=30)


def test_an_answer_that_cannot_be_given_does_not_end_the_lane(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    answers: SimpleQueue[Any] = SimpleQueue()

    def fail(*_: Any) -> None:
        raise ValueError("nobody listens")

    lane.submit(lambda: 1, fail)
    lane.submit(lambda: 2, lambda result, _: answers.put(result))
    assert answers.get(timeout=30) == 2
    assert "nobody listens" in caplog.text


def test_stop_ends_what_runs_and_what_waits_and_answers_both() -> None:
    lane = Lane(sqlite3.connect(":memory:", check_same_thread=False), "lane")
    begun = threading.Event()
    answers: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> list[Any]:
        begun.set()
        return lane.connection.execute(ENDLESS).fetchall()

    lane.submit(work, lambda _, error: answers.put(error))
    lane.submit(lambda: 1, lambda _, error: answers.put(error))
    assert begun.wait(10)
    assert lane.stop(10)
    assert [type(answers.get(timeout=1)) for _ in range(2)] == [Locked, Locked]
    lane.submit(lambda: 1, lambda _, error: answers.put(error))
    assert isinstance(answers.get(timeout=1), Locked)


def test_the_connection_of_a_function_that_does_not_end_stays_open() -> None:
    lane = Lane(sqlite3.connect(":memory:", check_same_thread=False), "lane")
    begun, go_on = threading.Event(), threading.Event()
    answers: SimpleQueue[Any] = SimpleQueue()

    def work() -> Any:
        begun.set()
        go_on.wait()
        lane.connection.set_progress_handler(None, 0)
        return lane.connection.execute("SELECT 7").fetchone()[0]

    lane.submit(work, lambda result, _: answers.put(result))
    assert begun.wait(10)
    assert not lane.stop(0.05)
    go_on.set()
    assert answers.get(timeout=10) == 7


def test_a_store_whose_reader_hangs_still_writes_its_log_into_the_file(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.take(domain)
    kernel.open()
    make_tables(kernel)
    insert(kernel, "kept")
    begun, go_on = threading.Event(), threading.Event()
    answers: SimpleQueue[Any] = SimpleQueue()

    def work(scope: ReadScope) -> int:
        begun.set()
        go_on.wait()
        return len(scope.select(Item))

    kernel.store.read_apart(work, Caller(), lambda *answer: answers.put(answer))
    assert begun.wait(10)
    assert kernel.store.close(reader_timeout=0.05)
    log = tmp_path / "coder-local.db-wal"
    assert not log.exists() or log.stat().st_size == 0
    go_on.set()
    assert answers.get(timeout=10) == (1, None)
