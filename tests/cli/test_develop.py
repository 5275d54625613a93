"""`plugins dev`: a plugin runs from the folder it is written in, and each save is what runs next."""

import json
import os
import signal
import subprocess
import sys

import pytest

from coder_ipc import RemoteError
from coder_local.cli import phrases
from coder_local.testing.daemon import environment, running

pytestmark = pytest.mark.alone

BODY = '''
from coder_local.api import Domain, Snapshot
domain = Domain("leaves")

@domain.query("leaves.{word}")
def word(read: Snapshot) -> str:
    """Return the word."""
    return "{word}"
'''


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("d")) as found:
        yield found


@pytest.fixture
def leaves(tmp_path):
    """The plugin's folder, inside a project with a test."""
    folder = tmp_path / "project" / "leaves"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(BODY.format(word="green"))
    return folder


@pytest.fixture
def dev(daemon, leaves):
    argv = [sys.executable, "-m", "coder_local", "--data-dir", str(daemon.data_dir), "plugins", "dev"]
    with subprocess.Popen(
        [*argv, str(leaves.parent), "--yes"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()
    (daemon.data_dir / "plugins" / "leaves.link").unlink()
    daemon_disable(daemon)


def daemon_disable(daemon):
    daemon.call("plugins.disable", name="leaves")


def test_each_save_is_loaded_at_once_and_a_broken_one_leaves_the_one_before(daemon, leaves, dev):
    first = json.loads(dev.stdout.readline())
    assert (first["reloaded"], first["added"]) == (True, ["leaves.green"])
    assert first["plugin"]["location"] == str(leaves)
    assert daemon.call("leaves.green") == "green"
    (leaves / "__init__.py").write_text(BODY.format(word="red"))
    second = json.loads(dev.stdout.readline())
    assert (second["added"], second["removed"]) == (["leaves.red"], ["leaves.green"])
    (leaves / "__init__.py").write_text(BODY.format(word="brown")[:-30])
    broken = json.loads(dev.stdout.readline())
    assert not broken["reloaded"]
    assert "SyntaxError" in broken["fault"]
    assert daemon.call("leaves.red") == "red"
    part = leaves / "__init__.py.tmp"
    part.write_text(BODY.format(word="brown"))
    part.replace(leaves / "__init__.py")  # as many editors save
    while not json.loads(dev.stdout.readline())["reloaded"]:
        pass
    assert daemon.call("leaves.brown") == "brown"
    with pytest.raises(RemoteError, match=r"leaves\.red"):
        daemon.call("leaves.red")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send there")
def test_ctrl_c_ends_it_and_the_plugin_stays(daemon, leaves, dev):
    dev.stdout.readline()
    os.kill(dev.pid, signal.SIGINT)
    out, err = dev.communicate(timeout=30)
    assert (dev.returncode, out) == (0, "")
    assert "leaves stays as it was loaded last; coder-local plugins disable leaves" in err
    assert daemon.call("leaves.green") == "green"


def test_a_copy_that_runs_and_what_is_no_plugin_are_refused(command, daemon, leaves, tmp_path):
    place = daemon.data_dir / "plugins" / "leaves"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(BODY.format(word="copied"))
    assert command("plugins", "enable", "leaves", "--yes", data_dir=daemon.data_dir).code == 0
    refused = command("plugins", "dev", str(leaves), "--yes", data_dir=daemon.data_dir)
    assert (refused.code, f"runs from {place}" in refused.err) == (4, True)
    assert command("plugins", "dev", str(tmp_path / "none"), data_dir=daemon.data_dir).code == 3
    (tmp_path / "empty").mkdir()
    assert "has no __init__.py" in command("plugins", "dev", str(tmp_path / "empty"), data_dir=daemon.data_dir).err
    daemon_disable(daemon)
    unasked = command("plugins", "dev", str(leaves), data_dir=daemon.data_dir)
    assert (unasked.code, unasked.out) == (7, "")


def test_a_reload_is_one_line_that_says_what_changed():
    plugin = {"name": "leaves", "status": "loaded", "operations": 3}
    found = {"plugin": plugin, "reloaded": True, "took_ms": 21.4, "left": [], "fault": ""}
    lists = {"added": ["leaves.red"], "removed": ["leaves.green"], "changed": ["leaves.fall"]}
    assert phrases.reloaded(found | lists) == ("leaves loaded in 21 ms: +leaves.red -leaves.green ~leaves.fall")
    none = {"added": [], "removed": [], "changed": []}
    assert phrases.reloaded(found | none) == ("leaves loaded in 21 ms: the same 3 operations")
    broken = found | none | {"reloaded": False, "fault": "SyntaxError: no"}
    assert phrases.reloaded(broken) == ("leaves was not loaded (21 ms): SyntaxError: no; the content before goes on")
