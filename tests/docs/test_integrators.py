"""Following docs/integrators.md alone leads to a shell that works: its programs run in Node against a real daemon."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coder_local.testing.daemon import environment
from tests.docs.page import Reader, blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "integrators.md").read_text("utf-8")
PACKAGE = ROOT / "ipc" / "node"
NODE = shutil.which("node") or ""
# A browser sends the page's origin by itself; Node is told to.
AS_PAGE = """
import { follow, get } from "./page.mjs";
const granted = JSON.parse(process.argv[2]);
const Plain = globalThis.WebSocket;
globalThis.WebSocket = class extends Plain {
  constructor(url, protocols) { super(url, { protocols, headers: { origin: process.argv[3] } }); }
};
const tasks = await get(granted, "/api/planning/tasks?limit=1");
console.log("items", tasks.items.length);
await get(granted, "/api/planning/tasks/nothing").catch((error) => console.log(error.message.split(":")[0]));
let cursor;
const socket = follow(granted, (frame) => {
  if (frame.hello) console.log("hello", frame.hello.protocol, socket.protocol);
  if (frame.hello) { cursor = frame.hello.cursor; console.error("listening"); }
  if (frame.event) { console.log(frame.event.type, frame.event.id !== cursor); socket.close(); }
}, (code) => console.log("closed", code));
"""


class NodeReader(Reader):
    """Follows a page that has programs for Node."""

    def _console(self, line: str, want: str, where: str, *, serves: bool) -> None:
        words = shlex.split(line)
        if words[0] == "node":
            self._run([NODE, *words[1:]], want, f"{where}: {line}")
        else:
            super()._console(line, want, where, serves=serves)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which the package is installed, and `coder-local` is a command."""
    if not NODE:
        pytest.skip("NOT TESTED HERE: the page's programs run in Node, which is not here")
    if not (PACKAGE / "node_modules" / "typescript").is_dir():
        pytest.skip("NOT TESTED HERE: ipc/node has no packages yet; run: cd ipc/node && npm ci")
    if sys.platform == "win32":
        pytest.skip("NOT TESTED HERE: the command is made by a shell script")
    built = tmp_path / "node_modules" / "@coder-local" / "client"
    compiler = PACKAGE / "node_modules" / "typescript" / "bin" / "tsc"
    subprocess.run([NODE, compiler, "--outDir", built / "dist"], cwd=PACKAGE, check=True, timeout=120)
    shutil.copy(PACKAGE / "package.json", built)
    (tmp_path / "package.json").write_text("{}")  # or Node looks for one in the folders above
    command = tmp_path / "bin" / "coder-local"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m coder_local "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.alone
def test_following_the_page_leads_to_a_shell_that_works(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = NodeReader(folder, stack)
        reader.env["PATH"] = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        for block in blocks_of(PAGE):
            reader.follow(block)
        assert len(reader.ran) >= 8
        env = environment(reader.env)
        granted = run([NODE, "grant.mjs"], folder, env)
        assert list(json.loads(granted)) == ["http", "token", "id"]
        said = act_as_page(folder, env, granted, "app://shell")
        assert said == ["items 1", "not_found", "hello 1 coder-local.v1", "planning.task.created true", "closed 1000"]
        said = act_as_page(folder, env, granted, "https://elsewhere.example")
        # Browsers close it with 1006; Node 20 tells of an error alone.
        assert [line for line in said if line != "closed 1006"] == ["items 1", "not_found"]


def run(argv: list[str], folder: Path, env: dict[str, str]) -> str:
    ran = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def act_as_page(folder: Path, env: dict[str, str], granted: str, origin: str) -> list[str]:
    """Run the page's program as a page of that origin; when it listens, something happens."""
    (folder / "as_page.mjs").write_text(AS_PAGE)
    argv = [NODE, "--no-warnings", "--experimental-websocket", "as_page.mjs", granted, origin]
    with subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        assert page.stderr is not None
        if "listening" in page.stderr.readline():
            run([sys.executable, "-m", "coder_local", "planning", "capture", "seen by the page"], folder, env)
        said, complaint = page.communicate(timeout=60)
    assert said, complaint
    return said.splitlines()


def test_the_programs_of_the_page_are_all_run_or_imported() -> None:
    blocks = blocks_of(PAGE)
    files = {block.name for block in blocks if block.language == "js"}
    sessions = " ".join(block.body for block in blocks if block.language == "console")
    imported = " ".join(block.body for block in blocks if block.language == "js")
    by_the_test = {"grant.mjs", "page.mjs"}
    assert {name for name in files if name not in sessions and f"./{name}" not in imported} == by_the_test
