"""The example of docs/examples, with the same assertions in the daemon and in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local.testing.daemon import environment
from tests.faults.process import Process

from .conftest import about, put_shelf, refused, until

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module", params=["in_process", "process"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data_dir: Path = tmp_path_factory.mktemp(request.param) / "data"
    put_shelf(data_dir, request.param)
    daemon = Process(data_dir)
    daemon.start()
    found = daemon.confirmed("plugins.enable", name="shelf")
    assert (found["status"], found["reason"]) == ("loaded", "")
    yield daemon
    daemon.kill()


def test_the_list_of_plugins_shows_where_it_runs_and_what_it_may_do(shelf: Process) -> None:
    found = about(shelf, "shelf")
    apart = shelf.data_dir.parent.name.startswith("process")
    assert found["isolation"] == ("process" if apart else "in_process")
    assert (found["process"] not in {None, shelf.pid}) == apart
    allowed = found["permissions"]
    assert allowed == (
        {"operations": ["planning.tasks.create"], "events": [], "secrets": [], "hosts": [], "commands": []}
        if apart
        else None
    )


def test_its_contract_has_its_texts(shelf: Process) -> None:
    found = {each["name"]: each for each in shelf.call("operations.list", prefix="shelf.")["items"]}
    assert found["shelf.begin"]["summary"] == "Begin to read a book; at most three are open at a time."
    assert "Where it stands on the list of books that were read" in str(found["shelf.books.get"]["output"])
    assert "Books to read in a year." in str(shelf.call("settings.explain", plugin="shelf", name="goal"))


def test_a_command_a_query_and_its_rules_hold(shelf: Process) -> None:
    ids = [shelf.call("shelf.books.create", title=f"Volume {number}")["id"] for number in range(4)]
    assert shelf.call("shelf.progress") == {"read": 0, "open": 0, "goal": 12}
    for id_ in ids[:3]:
        assert shelf.call("shelf.begin", id=id_)["state"] == "open"
    error = refused(lambda: shelf.call("shelf.begin", id=ids[3]))
    assert (error.kind, error.hint) == ("conflict", "finish one of them first")
    assert shelf.call("shelf.books.get", id=ids[3])["state"] == "wanted"  # the whole command was taken back
    assert [shelf.call("shelf.finish", id=id_)["place"] for id_ in ids[:2]] == [1, 2]
    assert shelf.call("shelf.progress") == {"read": 2, "open": 1, "goal": 12}
    shelf.call("settings.set", plugin="shelf", name="goal", value=30)
    assert shelf.call("shelf.progress")["goal"] == 30
    assert refused(lambda: shelf.call("shelf.begin", id="none")).kind == "not_found"
    assert refused(lambda: shelf.call("shelf.begin", id=7)).kind == "invalid"
    taken = refused(lambda: shelf.call("shelf.books.update", id=ids[0], title="Volume 1"))
    assert (taken.kind, taken.field) == ("conflict", "/title")


def test_history_undo_and_events_are_as_everywhere(shelf: Process) -> None:
    book = shelf.call("shelf.books.create", title="Once")
    head = shelf.call("events.list", limit=500)["head"]
    shelf.call("shelf.finish", id=book["id"])
    change = shelf.call("shelf.books.history", id=book["id"])["items"][0]
    assert (change["operation"], change["actor"], change["action"]) == ("shelf.finish", "user", "updated")
    assert {each["field"] for each in change["fields"]} == {"state", "place"}
    said = shelf.call("events.list", cursor=head)["items"]
    assert [each["type"] for each in said[:2]] == ["shelf.book.updated", "shelf.book.finished"]
    assert said[1]["data"] == {"book": book["id"]}
    shelf.call("changes.undo", change_set=change["change_set"])
    assert shelf.call("shelf.books.get", id=book["id"])["state"] == "wanted"


def test_a_listener_hears_each_event_once(shelf: Process) -> None:
    book = shelf.call("shelf.books.create", title="Noticed")
    shelf.call("shelf.finish", id=book["id"])
    marks = until(lambda: [m for m in shelf.call("shelf.marks.list")["items"] if m["book"] == book["id"]])
    assert len(marks) == 1
    assert marks[0]["origin"] == "plugin:shelf"


def test_an_action_calls_others_and_writes(shelf: Process) -> None:
    book = shelf.call("shelf.books.create", title="Planned")
    told: list[object] = []
    with shelf.client() as client:
        task = client.call("shelf.plan", {"id": book["id"]}, timeout=30, on_progress=lambda *args: told.append(args))
    assert shelf.call("planning.tasks.get", id=task)["title"] == "Read Planned"
    assert shelf.call("shelf.books.get", id=book["id"])["meta"] == {"task": task}
    assert shelf.call("shelf.books.history", id=book["id"])["items"][0]["operation"] == "shelf.remember"
    assert told


def test_a_stream_tells_what_is_committed_meanwhile(shelf: Process) -> None:
    book = shelf.call("shelf.books.create", title="Followed")
    with shelf.client() as client:
        items = client.items("shelf.follow", {"count": 1})
        assert next(items) == "ready"
        shelf.call("shelf.finish", id=book["id"])
        assert list(items) == [book["id"]]


def test_an_expected_rev_and_a_repeated_key_hold(shelf: Process) -> None:
    book = shelf.call("shelf.books.create", title="Twice")
    stale = refused(lambda: shelf.call("shelf.finish", id=book["id"], if_rev=7))
    assert stale.kind == "stale"
    first = shelf.call("shelf.finish", id=book["id"], if_rev=1, idempotency_key="finish it")
    assert shelf.call("shelf.finish", id=book["id"], if_rev=1, idempotency_key="finish it") == first
    assert refused(lambda: shelf.call("shelf.finish", id=book["id"])).kind == "conflict"


def test_it_is_taken_away_and_brought_back(shelf: Process) -> None:
    process = about(shelf, "shelf")["process"]
    shelf.call("plugins.disable", name="shelf")
    assert refused(lambda: shelf.call("shelf.progress")).kind == "unsupported"
    if process is not None:
        until(lambda: about(shelf, "shelf")["process"] is None)
    said = by_command(shelf, "plugins", "enable", "shelf", "--yes")
    apart = "in a process of its own; beyond its own domain it may call planning.tasks.create"
    assert (apart if process else "in the daemon, where it may do whatever you may") in said
    assert shelf.call("shelf.progress")["goal"] == 30


def test_who_enables_another_content_is_told_what_that_one_may_do(shelf: Process) -> None:
    process = about(shelf, "shelf")["process"]
    manifest = shelf.data_dir / "plugins" / "shelf" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace("commands = []", 'commands = ["git"]'))
    said = by_command(shelf, "plugins", "reload", "shelf", "--yes")
    assert "its content changed since it was enabled" in said
    if process:
        assert "operations planning.tasks.create, commands git" in said
        assert about(shelf, "shelf")["permissions"]["commands"] == ["git"]


def by_command(shelf: Process, *words: str) -> str:
    """What a command says on standard error."""
    command = [sys.executable, "-m", "coder_local", "--data-dir", str(shelf.data_dir), *words]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    return ran.stderr


def test_it_is_there_again_after_a_restart(shelf: Process) -> None:
    read = shelf.call("shelf.progress")["read"]
    assert shelf.terminate() == 0
    shelf.start()
    assert shelf.call("shelf.progress")["read"] == read
    book = shelf.call("shelf.books.create", title="After the restart")
    shelf.call("shelf.finish", id=book["id"])
    until(lambda: [m for m in shelf.call("shelf.marks.list")["items"] if m["book"] == book["id"]])
