"""A command on a real terminal."""

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
