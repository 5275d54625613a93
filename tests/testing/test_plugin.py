"""The pytest plugin: light where it is not used, and its fixtures do what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coder_ipc import NotRunning, RemoteError, process
from coder_ipc.client import Client
from coder_local.testing.daemon import environment, running

TEST = '''
from coder_local.api import Domain, Record

domain = Domain("leaves")

@domain.table("leaves")
class Leaf(Record):
    """A leaf."""
    colour: str

domain.standard(Leaf)
opened = []

def test_in_memory(sandbox):
    box = sandbox(domain)
    opened.append(box)
    assert box.call("leaves.create", colour="red")["rev"] == 1

def test_it_was_closed():
    import pytest, sqlite3
    with pytest.raises(sqlite3.ProgrammingError):
        opened[0].kernel.store.writer.connection.execute("SELECT 1")

def test_in_a_daemon(daemon):
    assert daemon.call("plugins.list")["items"]
    print("PID", daemon.runtime.pid)
'''


def test_importing_the_plugin_imports_nothing_of_ours_and_nothing_heavy() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import coder_local.testing.plugin, json;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    imported = set(json.loads(ran.stdout)) - {"json"}
    ours = {name for name in imported if name.startswith("coder_")}
    assert ours == {"coder_local", "coder_local.testing", "coder_local.testing.plugin"}
    assert not {name.partition(".")[0] for name in imported} & {"msgspec", "asyncio", "sqlite3", "aiohttp"}


def test_the_names_of_the_package_are_there_when_asked_for() -> None:
    import coder_local.testing as kit

    for name in kit.__all__:
        assert getattr(kit, name).__name__ == name
    missing = "Sandbocks"
    with pytest.raises(AttributeError, match="Sandbocks"):
        getattr(kit, missing)


@pytest.mark.alone
def test_the_fixtures_open_and_close(tmp_path: Path) -> None:
    (tmp_path / "test_leaves.py").write_text(TEST, encoding="utf-8")
    installed = "import importlib.metadata as m; print([e.value for e in m.entry_points(group='pytest11')])"
    points = subprocess.run(
        [sys.executable, "-c", installed], env=environment(), capture_output=True, text=True, check=True
    )
    given = [] if "coder_local.testing.plugin" in points.stdout else ["-p", "coder_local.testing.plugin"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", *given, "test_leaves.py"],
        cwd=tmp_path,
        env=environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr
    pid = int(ran.stdout.partition("PID ")[2].split()[0])
    assert process.started_at(pid) is None


@pytest.mark.alone
def test_a_daemon_of_its_own_is_called_and_stopped(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        with daemon.client() as client:
            assert client.hello["pid"] == daemon.runtime.pid
        with pytest.raises(RemoteError, match="no operation"):
            daemon.call("leaves.list")
    with pytest.raises(NotRunning):
        Client.connect(tmp_path)
    assert process.started_at(daemon.runtime.pid) is None


@pytest.mark.alone
def test_a_daemon_that_stopped_by_itself_is_no_fault(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.call("daemon.stop")
        assert process.wait_exit(daemon.runtime.pid, 20)
