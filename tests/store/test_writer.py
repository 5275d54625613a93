"""The writer: one transaction for everything that belongs together, one commit for all that wait."""

from __future__ import annotations

import functools
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any, LiteralString

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store.scope import Caller, WriteScope
from coder_local.api import Conflict, Invalid, NotFound, Stale, TimedOut, TooLarge

from .items import Item, domain, events, insert, make_tables


def test_an_inserted_record_has_id_times_rev_and_origin(kernel: Kernel) -> None:
    item = insert(kernel)
    assert (item.rev, item.origin, item.workspace_id, item.deleted_at) == (1, "user", "default", None)
    assert item.created_at == item.updated_at == "2026-01-01T00:00:00.000Z"
    assert kernel.store.write(lambda tx: tx.get(Item, item.id)) == item


def test_a_failing_command_leaves_nothing(kernel: Kernel) -> None:
    def work(tx: WriteScope) -> None:
        tx.insert(Item(title="a"))
        tx.number("codes")
        raise Invalid("no")

    with pytest.raises(Invalid):
        kernel.store.write(work)
    assert kernel.store.write(lambda tx: tx.select(Item)) == []
    assert kernel.store.write(lambda tx: tx.number("codes")) == 1
    assert events(kernel) == []


def test_a_committed_number_is_never_given_again(kernel: Kernel) -> None:
    given = [kernel.store.write(lambda tx: tx.number("codes")) for _ in range(3)]
    assert given == [1, 2, 3]


def test_a_rule_holds_for_insert_and_update(kernel: Kernel) -> None:
    with pytest.raises(Invalid):
        insert(kernel, "forbidden")
    item = insert(kernel)
    with pytest.raises(Invalid):
        kernel.store.write(lambda tx: tx.update(item, title="forbidden"))
    assert kernel.store.write(lambda tx: tx.get(Item, item.id)).rev == 1


def test_uniqueness_is_a_conflict_that_names_the_field_and_a_deleted_name_is_free_again(kernel: Kernel) -> None:
    first = insert(kernel, code="x")
    with pytest.raises(Conflict) as caught:
        insert(kernel, code="x")
    assert caught.value.field == "/code"
    kernel.store.write(lambda tx: tx.delete(first))
    assert insert(kernel, code="x").rev == 1


def test_writing_an_older_record_is_stale(kernel: Kernel) -> None:
    item = insert(kernel)
    kernel.store.write(lambda tx: tx.update(item, size=2))
    with pytest.raises(Stale) as caught:
        kernel.store.write(lambda tx: tx.update(item, size=3))
    assert caught.value.data["current"]["size"] == 2


def test_an_update_without_a_difference_writes_nothing(kernel: Kernel) -> None:
    item = insert(kernel)
    assert kernel.store.write(lambda tx: tx.update(item, title=item.title)) is item
    assert events(kernel) == ["shelf.item.created"]


def test_a_deleted_record_is_not_found_until_restored(kernel: Kernel) -> None:
    item = kernel.store.write(lambda tx: tx.delete(insert_in(tx)))
    with pytest.raises(NotFound):
        kernel.store.write(lambda tx: tx.get(Item, item.id))
    kernel.store.write(lambda tx: tx.restore(item))
    assert kernel.store.write(lambda tx: tx.get(Item, item.id)).rev == 3


def insert_in(tx: WriteScope) -> Item:
    return tx.insert(Item(title="a"))


def test_meta_over_64_kib_is_too_large(kernel: Kernel) -> None:
    with pytest.raises(TooLarge):
        insert(kernel, meta={"x": "y" * 70_000})


def test_an_endless_statement_is_rolled_back_at_its_deadline(on_disk: Kernel) -> None:
    answers: list[Any] = []

    def endless(tx: WriteScope) -> None:
        tx.insert(Item(title="never"))
        tx.connection.execute(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        ).fetchone()

    on_disk.store.submit(endless, Caller(), lambda result, error: answers.append(error), deadline=0.2)
    assert isinstance(answers[0], TimedOut)
    assert insert(on_disk).rev == 1
    assert len(on_disk.store.write(lambda tx: tx.select(Item))) == 1


def run_group(kernel: Kernel, works: list[Any]) -> list[tuple[Any, BaseException | None]]:
    """Give the writer's thread several commands at once: the first holds it until all others wait."""
    gate, started = threading.Event(), threading.Event()
    answers: list[tuple[Any, BaseException | None]] = []
    done = threading.Semaphore(0)

    def hold(_: WriteScope) -> None:
        started.set()
        gate.wait(10)

    def answered(result: Any, error: BaseException | None) -> None:
        answers.append((result, error))
        done.release()

    kernel.store.start(lambda function, *arguments: function(*arguments), lambda _: None)
    kernel.store.submit(hold, Caller(), lambda *_: None)
    started.wait(10)
    for work in works:
        kernel.store.submit(work, Caller(), answered)
    gate.set()
    for _ in works:
        assert done.acquire(timeout=10)
    return answers


def test_commands_that_wait_share_a_commit_and_a_failing_one_fails_alone(on_disk: Kernel) -> None:
    commits: list[str] = []
    on_disk.store.writer.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    def bad(tx: WriteScope) -> None:
        tx.insert(Item(title="bad"))
        raise Invalid("no")

    answers = run_group(on_disk, [lambda tx: tx.insert(Item(title="good")), bad] * 10)
    assert sum(error is None for _, error in answers) == 10
    assert len(commits) == 2  # the command that held the writer, and all twenty others
    rows = on_disk.store._reader.execute("SELECT title, count(*) FROM shelf_items GROUP BY 1").fetchall()
    assert rows == [("good", 10)]


def test_when_the_commit_of_a_group_fails_each_command_gets_its_own_answer(on_disk: Kernel) -> None:
    failing = {"left": 1}
    real = on_disk.store.writer.connection

    class Failing:
        """Fails the first commit of more than one command, as a full disk does."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def execute(self, sql: str, *arguments: Any) -> Any:
            if sql == "COMMIT" and self.jobs > 1 and failing["left"]:
                failing["left"] -= 1
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            if sql == "BEGIN IMMEDIATE":
                self.jobs = 0
            if sql == "SAVEPOINT job":
                self.jobs += 1
            return real.execute(sql, *arguments)

        jobs = 0

    on_disk.store.writer.connection = Failing()  # type: ignore[assignment]
    answers = run_group(on_disk, [lambda tx: tx.insert(Item(title="x"))] * 5)
    assert [error for _, error in answers] == [None] * 5
    assert failing["left"] == 0
    sequence = [event.seq for event in on_disk.store.events_after(0, 100)]
    assert sequence == [1, 2, 3, 4, 5]


def test_a_write_is_there_after_opening_again(tmp_path: Path) -> None:
    from .items import domain, make_tables

    first = Kernel(tmp_path)
    first.take(domain)
    first.open()
    make_tables(first)
    item = insert(first)
    first.store.close()
    second = Kernel(tmp_path)
    second.take(domain)
    second.open()
    assert second.store.write(lambda tx: tx.get(Item, item.id)) == item
    assert second.store.epoch == first.store.epoch
    assert insert(second).rev == 1
    assert [event.seq for event in second.store.events_after(0, 10)] == [1, 2]
    second.store.close()


@pytest.mark.parametrize("swallows", [False, True])
def test_an_endless_loop_of_python_is_stopped_at_its_deadline_and_the_writer_goes_on(
    on_disk: Kernel, swallows: bool
) -> None:
    answers: list[BaseException | None] = []
    done = threading.Event()

    def endless(tx: WriteScope) -> None:
        tx.insert(Item(title="never"))
        while True:
            try:
                sum(range(100))
            except Exception:
                if not swallows:
                    raise

    def answered(_: Any, error: BaseException | None) -> None:
        answers.append(error)
        done.set()

    store = on_disk.store
    store.start(lambda function, *arguments: function(*arguments), lambda _: None)
    store.submit(endless, Caller(), answered, deadline=0.1)
    while not done.wait(0.05):
        store.writer.stop_overdue()
    assert isinstance(answers[0], TimedOut)
    done.clear()
    store.submit(lambda tx: tx.insert(Item(title="after")), Caller(), answered)
    assert done.wait(10)
    assert answers[1] is None
    assert store._reader.execute("SELECT title FROM shelf_items").fetchall() == [("after",)]


# A strike may land in a collector's callback of the testing tools, which swallows it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_strike_never_lands_outside_the_command_it_is_meant_for(on_disk: Kernel) -> None:
    """Commands that end right at their deadline, struck from another thread all the while: each has one answer."""
    store = on_disk.store
    store.start(lambda function, *arguments: function(*arguments), lambda _: None)
    over = threading.Event()

    def strike() -> None:
        while not over.is_set():
            store.writer.stop_overdue()

    striker = threading.Thread(target=strike)
    striker.start()
    answers: list[BaseException | None] = []
    done = threading.Semaphore(0)

    def answered(_: Any, error: BaseException | None) -> None:
        answers.append(error)
        done.release()

    def work(tx: WriteScope) -> None:
        tx.insert(Item(title="x"))
        sum(range(2000))

    for _ in range(300):
        store.submit(work, Caller(), answered, deadline=0.0001)
    for _ in range(300):
        assert done.acquire(timeout=20)
    over.set()
    striker.join()
    assert len(answers) == 300
    assert all(error is None or isinstance(error, TimedOut) for error in answers)
    written = store._reader.execute("SELECT count(*) FROM shelf_items").fetchone()[0]
    assert written == sum(error is None for error in answers)


class Stubborn(sqlite3.Connection):
    """A connection on a disk that for a moment takes nothing, not even a rollback."""

    failing: tuple[str, ...] = ()

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql in self.failing:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *arguments)


def test_a_rollback_that_fails_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = Kernel(tmp_path)
    kernel.take(domain)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Stubborn))
        kernel.open()
    make_tables(kernel)
    answers: SimpleQueue[BaseException | None] = SimpleQueue()
    kernel.store.start(lambda function, *arguments: function(*arguments), lambda _: None)

    def write(title: str) -> BaseException | None:
        kernel.store.submit(lambda tx: tx.insert(Item(title=title)), Caller(), lambda _, error: answers.put(error))
        return answers.get(timeout=10)

    connection = kernel.store.writer.connection
    assert isinstance(connection, Stubborn)
    connection.failing = ("COMMIT", "ROLLBACK")
    assert write("lost") is not None
    assert "could not be rolled back" in caplog.text
    connection.failing = ()
    assert write("kept") is None
    assert [item.title for item in kernel.store.read(lambda scope: scope.select(Item), Caller())] == ["kept"]
    kernel.store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH x AS (SELECT 1) DELETE FROM shelf_items",
        " with x as (select 'select') UPDATE shelf_items SET title = :title",
        "WITH x AS (SELECT id FROM shelf_items) INSERT INTO counter SELECT id, 1 FROM x",
        "DELETE FROM shelf_items",
        "SELECTED",
    ],
)
def test_rows_writes_nothing_however_it_begins(kernel: Kernel, sql: LiteralString) -> None:
    item = insert(kernel)
    with pytest.raises((ValueError, sqlite3.Error)):
        kernel.store.write(lambda tx: tx.rows(sql, title="x"))
    assert kernel.store.write(lambda tx: tx.get(Item, item.id)) == item


def test_rows_may_begin_with_a_common_table(kernel: Kernel) -> None:
    insert(kernel, "DELETE FROM shelf_items")
    sql: LiteralString = "WITH x AS (SELECT title FROM shelf_items WHERE title = :title) SELECT * FROM x"
    for _ in range(2):
        found = kernel.store.write(lambda tx: tx.rows(sql, title="DELETE FROM shelf_items"))
        assert found == [("DELETE FROM shelf_items",)]
