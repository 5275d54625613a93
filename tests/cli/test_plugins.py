"""`plugins new` and `plugins check`, which need no daemon."""

import json
import subprocess
import sys

import pytest

from coder_local.cli import app
from coder_local.testing import scaffold

pytestmark = pytest.mark.alone


def test_a_new_plugin_passes_the_check(command, tmp_path):
    done = command("plugins", "new", "recipes", "--dir", str(tmp_path))
    assert (done.code, done.err) == (0, "")
    written = json.loads(done.out)
    assert str(tmp_path / "recipes" / "recipes" / "records.py") in written
    checked = command("plugins", "check", str(tmp_path / "recipes"))
    assert (checked.code, json.loads(checked.out)) == (0, {"ok": True, "faults": []})


def test_a_plugin_with_a_fault_is_told_of(command, tmp_path):
    assert command("plugins", "new", "recipes", "--dir", str(tmp_path)).code == 0
    (tmp_path / "recipes" / "recipes" / "records.py").write_text("import nowhere_to_be_found\n")
    done = command("plugins", "check", str(tmp_path / "recipes"))
    answer = json.loads(done.out)
    assert (done.code, answer["ok"]) == (2, False)
    assert "nowhere_to_be_found" in " ".join(answer["faults"])


def test_what_is_in_the_way_is_not_overwritten(command, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine").touch()
    done = command("plugins", "new", "recipes", "--dir", str(tmp_path))
    assert (done.code, "there is something at" in done.err) == (4, True)


@pytest.mark.parametrize("name", ["Recipes", "status", "1st", "class"])
def test_a_name_that_cannot_be_is_refused(command, tmp_path, name):
    done = command("plugins", "new", name, "--dir", str(tmp_path))
    assert (done.code, "field: /name" in done.err) == (2, True)


def test_no_plugin_can_take_the_name_of_a_built_in_command():
    assert {name for name in app.SUMMARIES if name.isidentifier()} <= scaffold._TAKEN


@pytest.mark.parametrize(("words", "code"), [(["check", "nowhere"], 3), (["new"], 2), (["check"], 2)])
def test_a_mistake_is_told(command, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    done = command("plugins", *words)
    assert (done.code, done.out) == (code, "")


def test_the_help_of_both_says_what_they_do(command):
    assert "write a working plugin, with a test" in command("plugins", "new", "--help").out.lower()
    assert "runs its code" in command("help", "plugins", "check").out.lower()


@pytest.mark.parametrize("inner", [False, True])
def test_enabling_a_folder_tells_where_to_put_it(command, tmp_path, inner):
    project = tmp_path / "my work" / "recipes"
    package = project / "recipes" if inner else project
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    done = command("plugins", "enable", str(project), data_dir=tmp_path / "d")
    assert (done.code, done.out) == (2, "")
    place = tmp_path / "d" / "plugins" / "recipes"
    hint = done.err.splitlines()[-1]
    assert hint.endswith(" && coder-local plugins enable recipes")
    if sys.platform != "win32":
        copy = hint.removeprefix("hint: ").rpartition(" && ")[0]
        subprocess.run(["sh", "-c", copy], check=True)
        assert (place / "__init__.py").is_file()
        again = command("plugins", "enable", str(place), data_dir=tmp_path / "d")
        assert "hint: coder-local plugins enable recipes\n" in again.err


@pytest.mark.parametrize(("path", "code", "words"), [("./none", 3, "there is no folder"), (".", 2, "is no plugin")])
def test_enabling_a_path_that_is_no_plugin_is_told(command, tmp_path, monkeypatch, path, code, words):
    monkeypatch.chdir(tmp_path)
    done = command("plugins", "enable", path, data_dir=tmp_path / "d")
    assert (done.code, words in done.err) == (code, True)
