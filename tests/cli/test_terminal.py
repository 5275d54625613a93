"""The command on a real terminal: tables, questions, progress, Ctrl-C."""

import os
import select
import signal
import struct
import subprocess
import sys

import pytest

from coder_local.testing.daemon import environment

pty = pytest.importorskip("pty")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

pytestmark = pytest.mark.alone


class Terminal:
    """A command whose standard streams are a terminal of a given width."""

    def __init__(self, daemon, *arguments: str, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = environment({"TERM": "xterm", "NO_COLOR": "1"})
        env.pop("COLUMNS", None)
        argv = [sys.executable, "-m", "coder_local", "--data-dir", daemon.data_dir, *arguments]
        # a runner in the background ignores Ctrl-C, and its children would inherit that
        self._process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=env,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            assert self._read(), f"{text!r} was not shown, but {self.shown!r}"

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 20)
        assert ready, self.shown
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait(20)


def shown(daemon, *arguments: str, columns: int = 80) -> str:
    terminal = Terminal(daemon, *arguments, columns=columns)
    assert terminal.end() == 0, terminal.shown
    return terminal.shown


def test_a_list_is_a_table_cut_to_the_width_that_cannot_steer(daemon):
    assert shown(daemon, "probe", "rows", "a", "b").splitlines() == [
        "id  title              note",
        "a   \\u001b[31ma\\u202e  日本語 text",
        "b   \\u001b[31mb\\u202e  日本語 text",
    ]
    narrow = shown(daemon, "probe", "rows", "a" * 30, columns=24).splitlines()
    assert all(len(line) <= 24 for line in narrow)


def test_json_is_given_when_asked_for(daemon):
    assert shown(daemon, "probe", "count", "--to", "2", "--json") == "0\n1\n"
    assert shown(daemon, "probe", "work", "--json", "--quiet") == '"worked"\n'


def test_status_and_doctor_are_written_for_people(daemon):
    assert "ready     version " in shown(daemon, "status")
    assert "ok       daemon       running, version" in shown(daemon, "doctor")
    assert "notes.note" in shown(daemon, "notes", "create", "--workspace", "w", "--title", "t") + shown(
        daemon, "events", columns=200
    )


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 7), ("\n", 7), ("\x04", 7)])
def test_a_dangerous_operation_is_asked_about_with_what_it_would_do(daemon, typed, code):
    terminal = Terminal(daemon, "probe", "erase", "x\x1b")
    terminal.read_until("Go on? [y/N] ")
    assert "probe.erase is destructive: it loses something that undo cannot bring back" in terminal.shown
    assert "  id: x\\u001b\n" in terminal.shown
    terminal.type(typed)
    assert terminal.end() == code
    assert ("is gone" in terminal.shown) is (code == 0)


def test_progress_is_drawn(daemon):
    text = shown(daemon, "probe", "work", "--steps", "3")
    assert "probe.work: step" in text
    assert text.endswith("worked\n")
    assert "step" not in shown(daemon, "probe", "work", "--quiet")


def test_ctrl_c_cancels_the_call_in_the_daemon(daemon):
    terminal = Terminal(daemon, "probe", "hang")
    with daemon.client() as client:
        client.call("probe.until_hanging", timeout=20)
        terminal.interrupt()
        client.call("probe.until_cancelled", timeout=20)
    assert terminal.end() == 130
    assert terminal.shown.endswith("interrupted\n")


def test_ctrl_c_ends_following(daemon):
    terminal = Terminal(daemon, "events", "--follow")
    terminal.read_until("following; Ctrl-C ends it")
    terminal.interrupt()
    assert terminal.end() == 130
