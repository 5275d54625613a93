"""Commands that are committed together: each sees what those before it left, a failing one takes only its own back."""

from __future__ import annotations

from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._store import changes
from coder_local._store.scope import Caller, WriteScope
from coder_local._store.writer import Job

from .items import Item, events, insert


def together(kernel: Kernel, *works: Any) -> list[Any]:
    """Commit functions as one group and return their results or errors."""
    jobs = [Job(work, Caller(operation=f"test.{number}"), lambda *_: None) for number, work in enumerate(works)]
    kernel.store.writer._commit_group(jobs)
    return [job.error or job.result for job in jobs]


def make(title: str) -> Any:
    return lambda tx: tx.insert(Item(title=title))


def undo_last(tx: WriteScope) -> int:
    wanted = changes.last_change_set(tx, "user")
    return len(changes.undo(tx, wanted))


def history(kernel: Kernel) -> list[tuple[str, str, int | None]]:
    found = kernel.store.read(lambda read: changes.recent(read, before=None, limit=100), Caller())
    return [(each.operation, each.action, each.undone_by) for each in reversed(found)]


def test_an_undo_sees_the_commands_before_it_in_the_same_commit(kernel: Kernel) -> None:
    made, undone = together(kernel, make("a"), undo_last)
    assert undone == 1
    assert history(kernel) == [("test.0", "created", 2), ("test.1", "deleted", None)]
    assert events(kernel) == ["shelf.item.created", "shelf.item.deleted"]
    assert kernel.store.read(lambda read: read.find(Item, made.id), Caller()) is None


def test_what_a_failing_command_had_written_of_others_is_written_again(kernel: Kernel) -> None:
    def look_then_fail(tx: WriteScope) -> None:
        tx.insert(Item(title="lost"))
        assert [each.operation for each in changes.recent(tx, before=None, limit=10)] == ["test.1", "test.0"]
        raise RuntimeError("a fault of the plugin")

    results = together(kernel, make("a"), make("b"), look_then_fail, make("c"))
    assert isinstance(results[2], RuntimeError)
    assert history(kernel) == [("test.0", "created", None), ("test.1", "created", None), ("test.3", "created", None)]
    assert [event.seq for event in kernel.store.events_after(0, 10)] == [1, 2, 3]


def test_more_commands_than_one_statement_takes_keep_their_order(kernel: Kernel) -> None:
    together(kernel, *(make(f"{number:02}") for number in range(21)))
    assert [operation for operation, _, _ in history(kernel)] == [f"test.{number}" for number in range(21)]
    assert [event.seq for event in kernel.store.events_after(0, 100)] == list(range(1, 22))


def test_a_group_that_fails_as_a_whole_leaves_no_gap(kernel: Kernel) -> None:
    insert(kernel)
    failed: list[int] = []

    def break_once(tx: WriteScope) -> None:
        tx.insert(Item(title="b"))
        if not failed:
            failed.append(1)
            tx.connection.execute("ROLLBACK")  # as a full disk does
            raise RuntimeError("the transaction is gone")

    together(kernel, make("a"), break_once, make("c"))
    assert [event.seq for event in kernel.store.events_after(0, 10)] == [1, 2, 3, 4]
    assert [operation for operation, _, _ in history(kernel)][1:] == ["test.0", "test.1", "test.2"]


def test_the_write_ahead_log_is_cut_off_when_it_has_grown(on_disk: Kernel, monkeypatch: Any) -> None:
    monkeypatch.setattr("coder_local._store.writer.WAL_PAGES", 20)
    wal = on_disk.store.path.with_name(on_disk.store.path.name + "-wal")
    for number in range(20):
        insert(on_disk, title=str(number) * 300)
    grown = wal.stat().st_size
    assert grown > 20 * 4096
    on_disk.store.writer._checkpoint()
    assert wal.stat().st_size == 0
    insert(on_disk)
    on_disk.store.writer._checkpoint()
    assert 0 < wal.stat().st_size < grown
