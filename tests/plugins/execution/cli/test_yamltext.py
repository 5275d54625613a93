"""YAML as plans have it."""

import pytest

from coder_plugins.execution.cli.yamltext import MOST_VALUES, YamlError, parse


def test_plain_words_mean_what_json_has():
    text = "a: 3\nb: '3'\non: [yes, 007, 1.5, .5, 1e3, -4, null, ~, 2024-01-01, 1:30, true, .inf]\nc: |\n  12\n"
    assert parse(text).value == {
        "a": 3,
        "b": "3",
        "on": ["yes", "007", 1.5, 0.5, 1000.0, -4, None, None, "2024-01-01", "1:30", True, ".inf"],
        "c": "12\n",
    }
    assert parse("").value is None


def test_each_part_has_its_line():
    lines = parse("steps:\n  - key: a\n    input:\n      run: [x,\n        y]\n  - key: b\n    a/b: 1\n").lines
    wanted = {"/steps": 1, "/steps/0": 2, "/steps/0/key": 2, "/steps/0/input/run/1": 5, "/steps/1": 6}
    assert {pointer: lines[pointer] for pointer in wanted} == wanted
    assert lines["/steps/1/a~1b"] == 7


def test_aliases_are_taken():
    assert parse("a: &x {n: 1}\nb: *x\n").value == {"a": {"n": 1}, "b": {"n": 1}}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("a: [1, 2\n", 2, "expected"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("a: !thing {}\n", 1, "tag"),
        ("a: &x [*x]\n", 1, "holds itself"),
        ("x: 1\n? [1, 2]\n: 3\n", 2, "a key is a text"),
        ("a: 1\n--- \nb: 2\n", 2, "document"),
    ],
)
def test_what_no_plan_may_hold_is_refused_with_its_line(text, line, word):
    with pytest.raises(YamlError) as refused:
        parse(text)
    assert word in refused.value.message
    assert refused.value.line == line


def test_aliases_of_aliases_do_not_grow_beyond_all_bounds():
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    text += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(YamlError, match=str(MOST_VALUES)):
        parse(text)


def test_depth_has_a_bound():
    with pytest.raises(YamlError, match=r"deeply|nesting"):
        parse("[" * 3000 + "]" * 3000)
