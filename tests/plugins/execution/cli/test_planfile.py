"""Plan files: what they may hold, and where it stands."""

from pathlib import Path

import pytest

from coder_local.cli.errors import Failure
from coder_plugins.execution.cli import planfile


def test_a_list_is_the_steps_alone(plan):
    found = planfile.read(Path(plan("- key: a\n  kind: timer\n- key: b\n", "deploy.yaml")))
    assert [step["key"] for step in found.content["steps"]] == ["a", "b"]
    assert found.name == "deploy"
    assert found.place("/steps/1/key") == "deploy.yaml:3"
    assert found.place("/steps/1/needs/0") == "deploy.yaml:3"
    assert found.place(None) == "deploy.yaml"
    assert found.line("/folder") is None


def test_json_is_read_with_its_lines(plan):
    text = '{\n  "name": "n",\n  "steps": [\n    {"key": "a",\n     "kind": "x"}\n  ]\n}'
    assert planfile.read(Path(plan(text, "p.json"))).line("/steps/0/kind") == 5
    assert planfile.read(Path(plan(text.replace("  ", "\t"), "p.json"))).name == "n"


@pytest.mark.parametrize(
    ("text", "name", "word"),
    [
        ("name: x\n", "p.yaml", "no steps"),
        ("just words", "p.yaml", "no steps"),
        ("step: []\nsteps: []\n", "p.yaml", "p.yaml:1: a plan has no 'step'"),
        ("steps: []\ninputs: [1]\n", "p.yaml", "p.yaml:2: inputs are an object"),
        ('{"steps": [], "steps": []}', "p.json", "twice"),
        ('{"steps": [NaN]}', "p.json", "no number"),
        ('{"steps": [\n1,\n]}', "p.json", "p.json:3"),
        ("a: 1\na: 2\n", "p.yaml", "p.yaml:2: 'a' stands here twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(plan, text, name, word):
    with pytest.raises(Failure) as refused:
        planfile.read(Path(plan(text, name)))
    assert (word in refused.value.message, refused.value.kind) == (True, "invalid")
    assert refused.value.hint or "inputs" in word


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(Failure, match="No such file"):
        planfile.read(tmp_path / "none.yaml")


def test_inputs_have_the_type_that_the_plan_gives_them():
    known = {"version": "1.0", "count": 1, "flag": False, "list": []}
    given = ["version=2", "count=3", "flag=true", 'list=["a"]', "new=5", "made:=5"]
    assert planfile.inputs(known, given) == {
        "version": "2", "count": 3, "flag": True, "list": ["a"], "new": "5", "made": 5,
    }  # fmt: skip
    for wrong in ("count", "=x", "count=x", ":=1"):
        with pytest.raises(Failure):
            planfile.inputs(known, [wrong])
