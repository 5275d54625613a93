"""Running a page of documentation: its files are written, its sessions run, its answers compared."""

import contextlib
import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from coder_local.testing.daemon import RunningDaemon, command, environment, running

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_SESSIONS = {"console", "pycon", "http"}


class Block(NamedTuple):
    """One fenced block."""

    language: str
    name: str
    """What stands behind the language: the file it is, or `serve`."""
    body: str
    line: int


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, name = match["info"].strip().partition(" ")
        found.append(Block(language, name.strip(), match["body"], text.count("\n", 0, match.start()) + 1))
    return found


class Reader:
    """Follows a page to the letter, in a folder of its own, knowing nothing but the page."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.env = {"COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
        self.ran: list[str] = []
        self._stack = stack
        self._daemon: RunningDaemon | None = None
        self._id = ""
        """The last id that an answer showed; the page calls it <id>."""

    def follow(self, block: Block) -> None:
        """Do what one block says. Raises AssertionError, naming its line, if what is seen is not what it shows."""
        where = f"line {block.line}"
        if block.language == "console":
            for line, want in _commands(block.body):
                self._console(line, want, where, serves=block.name == "serve")
        elif block.language == "pycon":
            self._python(block, where)
        elif block.language == "http":
            self._http(block.body, where)
        elif block.name:
            path = self.folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        if block.language in _SESSIONS:
            self.ran.append(block.language)

    def _console(self, line: str, want: str, where: str, *, serves: bool) -> None:
        words = shlex.split(line.replace("<id>", self._id))
        if serves:
            assert words[:3] == ["coder-local", "serve", "--data-dir"], f"{where}: {line}"
            self._daemon = self._stack.enter_context(running(self.folder / words[3], env=self.env))
            return
        match words:
            case ["export", setting]:
                name, _, value = setting.partition("=")
                self.env[name] = str(self.folder / value)
            case ["mkdir", name]:
                (self.folder / name).mkdir()
            case ["cp", "-r", source, target]:
                shutil.copytree(self.folder / source, self.folder / target)
            case ["coder-local", *rest]:
                self._run([*command(), *rest], want, f"{where}: {line}")
            case ["python", *rest]:
                self._run([sys.executable, *rest], want, f"{where}: {line}")
            case _:
                raise AssertionError(f"{where}: nobody knows how to run {line!r}")

    def _run(self, argv: list[str], want: str, where: str) -> None:
        ran = subprocess.run(
            argv, cwd=self.folder, env=environment(self.env), capture_output=True, text=True, timeout=90, check=False
        )
        self._compare(want, ran.stdout + ran.stderr, where)

    def _python(self, block: Block, where: str) -> None:
        session = self.folder / "session.txt"
        session.write_text(block.body, encoding="utf-8")
        options = [f"-o{option}" for option in ("ELLIPSIS", "NORMALIZE_WHITESPACE")]
        ran = subprocess.run(
            [sys.executable, "-m", "doctest", *options, session.name],
            cwd=self.folder,
            env=environment({**self.env, "PYTHONPATH": os.pathsep.join([str(self.folder), *filter(None, sys.path)])}),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, f"{where}:\n{ran.stdout}{ran.stderr}"

    def _http(self, body: str, where: str) -> None:
        assert self._daemon is not None, f"{where}: no daemon was started"
        assert self._daemon.runtime.http is not None
        asked, _, answered = body.replace("<id>", self._id).partition("\n\n")
        first, _, content = asked.partition("\n")
        method, path = first.split()
        status, _, want = answered.partition("\n")
        request = urllib.request.Request(
            self._daemon.runtime.http + path,
            method=method,
            data=content.encode() or None,
            headers={"Authorization": f"Bearer {self._daemon.runtime.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                seen, got = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                seen, got = error.code, error.read().decode()
        assert seen == int(status), f"{where}: {seen} {got}"
        self._compare(want, got, where)

    def _compare(self, want: str, got: str, where: str) -> None:
        want = want.replace("<id>", self._id)
        if want.strip():
            checker = doctest.OutputChecker()
            assert checker.check_output(want.strip() + "\n", got.strip() + "\n", _ELLIPSIS), (
                f"{where}\n--- shown\n{want}--- seen\n{got}"
            )
        with contextlib.suppress(ValueError):
            answer = json.loads(got)
            if isinstance(answer, dict) and isinstance(answer.get("id"), str):
                self._id = answer["id"]


def _commands(body: str) -> list[tuple[str, str]]:
    """Return the commands of a console session, each with the output shown under it."""
    return [
        (line, want) for line, _, want in (part.partition("\n") for part in re.split(r"^\$ ", body, flags=re.M)[1:])
    ]
