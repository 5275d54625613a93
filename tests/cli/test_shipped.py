"""Commands that plugins bring: found without the plugin, quick, and no other's business."""

import json

import pytest

from coder_local.cli import app, shipped
from tests.cli.test_output import HEAVY, modules_after

CLI = """\
from coder_local.cli.api import Shipped

COMMANDS = {"jot down": Shipped("write something down", "writing"), "jot up": Shipped("look something up", "writing")}
"""
WRITING = """\
from coder_local.cli.api import Command


def _arguments(parser):
    parser.add_argument("text")


def _run(session, arguments):
    session.output.answer(session.call("jotter.count", {}) | {"text": arguments.text})
    return 0


COMMANDS = {"jot down": Command(_arguments, _run), "jot up": Command(_arguments, _run, "Looks it up.")}
"""
PLUGIN = '''\
from coder_local.api import Domain, Snapshot, Value

domain = Domain("jotter")


class Count(Value):
    """How many."""

    count: int


@domain.query("jotter.count")
def count(read: Snapshot) -> Count:
    """Count."""
    return Count(count=0)
'''


def test_each_command_is_what_it_is_called_and_no_built_in_one():
    found = shipped.bundled()
    assert {each.words[0] for each in found}.isdisjoint(app.SUMMARIES)
    for each in found:
        assert each.load().configure
    assert set(shipped.summaries(found)) <= set(app.summaries())


@pytest.mark.alone
@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["runs"], ["runs", "--help"], ["runs", "list", "--help"]]
)
def test_help_imports_nothing_heavy_and_no_plugin(tmp_path, words):
    loaded = modules_after(["--data-dir", str(tmp_path), *words])
    assert not loaded & (HEAVY | {"yaml", "coder_plugins.execution"})


@pytest.mark.alone
@pytest.mark.parametrize("words", [["status"], ["call", "daemon.status"]])
def test_other_commands_do_not_even_look(daemon, words):
    loaded = modules_after(["--data-dir", str(daemon.data_dir), *words])
    assert not {name for name in loaded if name.startswith("coder_plugins")}


def test_a_misspelt_word_is_told_with_the_nearest(command):
    done = command("runs", "lst")
    assert (done.code, "hint: did you mean list" in done.err) == (3, True)
    done = command("runs")
    assert (done.code, done.out) == (2, "")
    assert "  approve  " in done.err
    assert "  approve  " in command("help", "runs").out


@pytest.mark.alone
def test_a_plugin_from_a_folder_brings_commands_once_it_is_enabled(run, daemon):
    folder = daemon.data_dir / "plugins" / "jotter"
    (folder / "cli").mkdir(parents=True)
    for name, text in (("__init__", PLUGIN), ("cli/__init__", CLI), ("cli/writing", WRITING)):
        (folder / f"{name}.py").write_text(text)
    assert run("jot", "down", "x").code == 3
    assert run("plugins", "enable", "jotter", "--yes").code == 0
    done = run("jot", "down", "milk")
    assert (done.code, done.out) == (0, '{"count":0,"text":"milk"}\n')
    assert "Looks it up." in run("jot", "up", "--help").out
    assert run("jot", "sideways").code == 3
    ran = daemon.data_dir / "ran"
    (folder / "cli" / "__init__.py").write_text(f"open({str(ran)!r}, 'w').close()\n{CLI}")
    assert run("jot", "down", "x").code == 3  # nobody looked at what stands there now
    (folder / "plugin.toml").write_text('isolation = "process"\n')
    assert run("plugins", "enable", "jotter", "--yes").code == 0
    assert run("jot", "down", "x").code == 3
    (listed,) = (each for each in json.loads(run("plugins", "list").out)["items"] if each["name"] == "jotter")
    assert listed["reason"] == (
        "its commands in cli are left out: they would run in your terminal, outside of its process"
    )
    assert not ran.exists()
