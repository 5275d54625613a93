"""Whatever is killed, and however it ends: nothing is left running, nothing stands in the way, nothing is half done."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from coder_ipc import IpcError, RemoteError
from coder_ipc.client import Client
from coder_local.testing.daemon import environment
from tests.isolation.conftest import about, put_shelf, until
from tests.support.program import skip_for_want_of

from .family import SOON
from .world import LIMIT, World

pytestmark = pytest.mark.alone
WAITS = "echo begun >> lines; while [ ! -e go ]; do sleep 0.02; done; echo ended >> lines"
"""A program that goes on until a file is there."""
SHELL = """
import os, subprocess, sys
wrapped, argv = sys.argv[1] == "wrapped", sys.argv[2:]
argv += ["--parent-pid", str(os.getpid())]
if not wrapped:
    argv += ["--watch-stdin"]
else:
    argv = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *argv]
child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), end="", flush=True)
sys.stdin.read()
"""


class Shell:
    """A program that starts the daemon as the page says, or by a wrapper between; it goes on until it is killed.

    Behind a wrapper the daemon knows of it by its pid alone: who holds the pipe is another.
    """

    def __init__(self, world: World, how: str = "plain") -> None:
        argv = [sys.executable, "-c", SHELL, how, *world.program, "serve", "--data-dir", str(world.data)]
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(world.env))
        assert self.popen.stdout is not None
        words = self.popen.stdout.readline().split(maxsplit=1)
        assert len(words) == 2, words
        self.child = int(words[0])

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate(timeout=30)


# -- who started it ---------------------------------------------------------------------------------------------------


def test_sigkill_of_the_shell_ends_the_daemon_and_what_is_to_end_with_it(world: World) -> None:
    shell = Shell(world)
    world.start(WAITS, input={"shell": WAITS, "on_daemon_death": "kill"})
    world.until_lines(1)
    assert len(world.kin.living()) >= 4  # the shell, the daemon, who holds its output, the program
    shell.kill()
    world.kin.is_gone()
    assert world.traces() == []
    assert world.lines() == ["begun"]


def test_sigkill_of_what_stands_between_ends_nothing_and_makes_no_second_one(world: World) -> None:
    """As the boot loader of a one-file program, a script, or `npm run`: the shell is told that its child has ended."""
    shell = Shell(world, "wrapped")
    pid = world.call("daemon.status")["pid"]
    assert pid != shell.child
    psutil.Process(shell.child).kill()
    again = world.serve("--parent-pid", str(shell.popen.pid))
    assert (world.line["event"], world.line["pid"]) == ("attached", pid)
    assert again.end() == 0
    shell.kill()
    world.kin.is_gone()
    assert world.traces() == []


def test_the_end_of_standard_input_ends_it_with_all_that_it_started(world: World) -> None:
    daemon = world.serve("--watch-stdin", stdin=subprocess.PIPE)
    run = world.start("echo begun >> lines; sleep 0.1; echo ended >> lines")
    assert world.until_ended(run) == "succeeded"
    assert len(world.kin.living()) > 1  # it keeps some for the next program
    assert daemon.popen.stdin is not None
    daemon.popen.stdin.close()
    assert daemon.end() == 0
    world.kin.is_gone()
    assert world.traces() == []


# -- the daemon -------------------------------------------------------------------------------------------------------


def test_sigkill_of_the_daemon_leaves_only_what_is_to_be_found_again(world: World) -> None:
    """What is bound to the daemon ends with it; what is not goes on, and the next daemon has it."""
    daemon = world.serve()
    bound = world.start(WAITS, input={"shell": WAITS.replace("lines", "bound"), "on_daemon_death": "kill"})
    free = world.start(WAITS)
    world.until_lines(1)
    world.until_lines(1, "bound")
    daemon.popen.kill()
    daemon.end()
    end = time.monotonic() + SOON
    while any(_name(each) == "sh" for each in world.kin.named("bound;")):
        assert time.monotonic() < end
        time.sleep(0.02)
    world.serve()
    (world.work / "go").touch()
    assert world.until_ended(free) == "succeeded"
    assert world.lines() == ["begun", "ended"]
    assert world.until_ended(bound) in {"needs_decision", "failed"}
    assert world.lines("bound") == ["begun"]
    world.call("execution.runs.cancel", id=bound)
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


ENDINGS = ([signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGKILL])
"""What is sent to the daemon; Ctrl-C twice is one stop in order."""


def test_an_end_under_load_leaves_nothing_half_done(world: World) -> None:
    """What was answered is there once. What was not is there once or not at all; repeated, it is there once."""
    daemon = world.serve()
    for signals in ENDINGS:
        writers = [Writer(world, f"{signals[0].name}-{number}") for number in range(4)]
        for each in writers:
            each.start()
        while any(len(each.answered) < 5 for each in writers):
            assert all(each.is_alive() for each in writers)
            time.sleep(0.005)
        for sent in signals:
            daemon.popen.send_signal(sent)
            time.sleep(0.05)
        assert daemon.end() == (-signal.SIGKILL if signals == [signal.SIGKILL] else 0)
        for each in writers:
            each.join(LIMIT)
        if signals != [signal.SIGKILL]:
            world.kin.is_gone()
            assert world.traces() == []
        before = _titles(world)
        daemon = world.serve()
        _is_whole(writers, before, world)
    assert "Traceback" not in daemon.log()
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


def _is_whole(writers: list[Writer], before: list[str], world: World) -> None:
    for each in writers:
        for title in each.answered:
            assert before.count(title) == 1, title
        assert before.count(each.asked) <= 1
        each.repeat()
    after = _titles(world)
    assert sorted(after) == sorted({*after})
    assert {each.asked for each in writers} <= set(after)


class Writer(threading.Thread):
    """Creates tasks one after another, each with a key of its own, until it is cut off."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self.world = world
        self.answered: list[str] = []
        self.asked = ""
        self._client = world.client()

    def run(self) -> None:
        with self._client:
            for count in range(100_000):
                self.asked = f"{self.name}-{count}"
                try:
                    self._ask(self._client)
                except (IpcError, OSError):
                    return
                self.answered.append(self.asked)

    def repeat(self) -> None:
        """Ask the last one again, with its key."""
        with self.world.client() as client:
            self._ask(client)

    def _ask(self, client: Client) -> None:
        client.call("planning.tasks.create", {"title": self.asked, "idempotency_key": self.asked}, timeout=LIMIT)


def _base(world: World) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{(world.data / 'coder-local.db').as_uri()}?mode=ro", uri=True))


def _titles(world: World) -> list[str]:
    with _base(world) as base:
        assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        titles = [title for (title,) in base.execute("SELECT title FROM planning_tasks")]
        (events,) = base.execute("SELECT count(*) FROM event WHERE type = 'planning.task.created'").fetchone()
        assert events == len(titles)
        return titles


# -- what plugins start -----------------------------------------------------------------------------------------------


def _step(world: World) -> psutil.Process:
    """Return the program of the step that runs."""
    # the shell forks each `sleep`, which is called as it is until it has begun
    return min((each for each in world.kin.named("go ]") if _name(each) == "sh"), key=lambda each: each.create_time())


def _holder(world: World) -> psutil.Process:
    """Return the process that holds the output of the step, the shim."""
    found = _step(world).parent()
    assert found is not None
    return found


def _fork_server(world: World) -> psutil.Process:
    """Return the process that the holders come of."""
    return min(world.kin.named("forkserver"), key=lambda each: each.create_time())


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


VICTIMS: dict[Callable[[World], psutil.Process], str] = {_step: "failed", _holder: "failed", _fork_server: "succeeded"}
"""What is killed while a program runs, and what becomes of the run."""


def test_sigkill_of_a_plugin_s_child_is_told_and_harms_nothing_else(world: World) -> None:
    world.serve()
    for victim, status in VICTIMS.items():
        before = len(world.lines())
        run = world.start(WAITS)
        world.until_lines(before + 1)
        victim(world).kill()
        if victim is not _step:  # the step's program goes on without either of the others
            (world.work / "go").touch()
        assert world.until_ended(run) == status, victim
        (world.work / "go").unlink(missing_ok=True)
    assert world.until_ended(world.start("echo last >> lines")) == "succeeded"
    assert world.lines() == ["begun", *["begun", "ended"] * 2, "last"]
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


def test_sigkill_of_a_plugin_s_own_process_is_told_and_what_is_asked_again_is_done_once(world: World) -> None:
    put_shelf(world.data, "process")
    world.serve()
    world.call("plugins.enable", name="shelf")
    books = [world.call("shelf.books.create", title=f"book {number}")["id"] for number in range(40)]
    reader = Reader(world, books)
    reader.start()
    for finished in (5, 15):
        while len(reader.answered) < finished:
            assert reader.is_alive()
            time.sleep(0.005)
        plugin = about(world, "shelf")
        assert plugin["process"] is not None
        psutil.Process(plugin["process"]).kill()
        until(lambda gone=plugin["process"]: about(world, "shelf")["process"] not in {None, gone})
        assert "SIGKILL" in about(world, "shelf")["reason"]
    reader.join(LIMIT)
    assert (reader.answered, reader.others) == (books, [])
    assert world.call("shelf.progress")["read"] == len(books)
    until(lambda: len(world.call("shelf.marks.list", limit=100)["items"]) >= len(books))
    world.stop()
    with _base(world) as base:
        said = base.execute("SELECT count(*) FROM event WHERE type = 'shelf.book.finished'").fetchone()
        marks = base.execute("SELECT count(*), count(DISTINCT book) FROM shelf_marks").fetchone()
        places = base.execute("SELECT min(place), max(place), count(DISTINCT place) FROM shelf_books").fetchone()
    assert (said, marks, places) == ((len(books),), (len(books),) * 2, (1, len(books), len(books)))
    world.kin.is_gone()
    assert world.traces() == []


class Reader(threading.Thread):
    """Finishes books one after another, each with a key of its own, and asks again when the plugin's process ended."""

    def __init__(self, world: World, books: list[str]) -> None:
        super().__init__(daemon=True)
        self.answered: list[str] = []
        self.others: list[str] = []
        """What it was told beside that."""
        self._world = world
        self._books = books

    def run(self) -> None:
        with self._world.client() as client:
            for book in self._books:
                while not self._finished(client, book):
                    pass
                self.answered.append(book)

    def _finished(self, client: Client, book: str) -> bool:
        try:
            client.call("shelf.finish", {"id": book, "idempotency_key": book}, timeout=LIMIT)
        except RemoteError as error:
            if "the process of plugin shelf ended" not in str(error):
                self.others.append(str(error))
                return True
            return False
        return True


LEADS = "import os, sys; os.setpgid(0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Starts a program as the first of a group of processes, which is what a terminal sends Ctrl-C to."""


def test_ctrl_c_twice_is_one_stop_although_all_of_the_group_get_it(world: World) -> None:
    put_shelf(world.data, "process")
    daemon = world.serve(program=[sys.executable, "-c", LEADS, *world.program])
    assert os.getpgid(daemon.popen.pid) == daemon.popen.pid
    world.call("plugins.enable", name="shelf")
    assert about(world, "shelf")["process"] is not None
    run = world.start(WAITS)
    world.until_lines(1)
    for _ in range(2):
        os.killpg(daemon.popen.pid, signal.SIGINT)
        time.sleep(0.05)
    assert daemon.end() == 0
    assert "Traceback" not in daemon.log()
    world.serve()
    until(lambda: about(world, "shelf")["status"] == "loaded")
    (world.work / "go").touch()
    assert world.until_ended(run) == "succeeded"
    assert world.lines() == ["begun", "ended"]  # a step is no part of the group
    world.stop()
    world.kin.is_gone()
    assert world.traces() == []


# -- sleep and wake ---------------------------------------------------------------------------------------------------


def clock_of(file: Path) -> dict[str, str]:
    """Return the environment in which a file sets the clock on the wall, and no other; the test is skipped without."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        skip_for_want_of("libfaketime is not there; install the package faketime")
    return {
        "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip


def test_sleep_and_wake_with_the_clock_moved(tmp_path: Path, world: World) -> None:
    """A laptop is closed for eight hours: connections and runs go on, what came due meanwhile is done once."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    world.env |= clock_of(clock)
    shell = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    daemon = world.serve("--parent-pid", str(shell.pid), "--linger", "1")
    with world.client() as client:
        heard = client.events(types=["execution.run.*"])
        steps = [{"key": "wait", "kind": "timer", "input": {"duration": "PT1H"}}]
        run = world.call("execution.start", steps=steps)["run"]["id"]
        daemon.popen.send_signal(signal.SIGSTOP)
        while psutil.Process(daemon.popen.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.005)
        clock.write_text("+8h\n")
        time.sleep(2.2)  # longer than it lingers, and than the watchdog takes for a blocked loop
        daemon.popen.send_signal(signal.SIGCONT)
        assert world.until_ended(run) == "succeeded"  # at once: the hour is over
        assert client.call("daemon.status")["pid"] == daemon.popen.pid  # on the connection of before
        said = []
        while not said or said[-1] != "execution.run.finished":
            params = heard.wait(LIMIT)
            assert params is not None
            said.append(params["event"]["type"])
        assert said.count("execution.run.finished") == 1
        shell.kill()
        shell.communicate()
    assert daemon.end() == 0  # its parent is gone, and its last client
    world.kin.is_gone()
    assert world.traces() == []
