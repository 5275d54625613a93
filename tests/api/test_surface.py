"""What plugins may import: all of it documented, typed, and changed only knowingly."""

import difflib
import inspect
import re
import sys
from pathlib import Path

import pytest

from coder_local import api
from coder_local._contracts import docs
from coder_local.api import hooks
from coder_local.api.errors import KINDS, Code
from tests.api.surface import surface

SNAPSHOT = Path(__file__).with_name("surface.txt")
PROTOCOL = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text("utf-8")
ALIASES = [
    name for name in api.__all__ if not inspect.isclass(value := getattr(api, name)) and not inspect.isroutine(value)
]


def test_the_surface_is_the_recorded_one() -> None:
    recorded = SNAPSHOT.read_text("utf-8").splitlines()
    changes = [line for line in difflib.ndiff(recorded, surface()) if line[0] in "+-"]
    assert changes == [], (
        "What plugins may use has changed. If that is meant, say so in CHANGELOG.md (what is taken away or means "
        "something else needs a new major version), then run: python -m tests.api.surface"
    )


def test_the_names_are_sorted_and_each_only_once() -> None:
    assert list(api.__all__) == sorted(set(api.__all__))


def test_nothing_public_is_left_out_of_all() -> None:
    public = {name for name, value in vars(api).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(api.__all__)


@pytest.mark.parametrize("name", ALIASES)
def test_every_type_alias_is_documented(name: str) -> None:
    homes = [module for module in sys.modules if module.startswith("coder_local.api.")]
    assert any(docs.of_alias(module, name) for module in homes)


@pytest.mark.parametrize("name", [name for name in api.__all__ if name not in ALIASES])
def test_every_class_and_function_is_documented_and_annotated(name: str) -> None:
    value = getattr(api, name)
    assert value.__doc__, name
    members = [each for each in vars(value).values() if inspect.isfunction(each)] if inspect.isclass(value) else [value]
    for function in members:
        if not inspect.isfunction(function) or (function.__name__.startswith("_") and function.__name__ != "__init__"):
            continue
        if not function.__module__.startswith("coder_local.api"):
            continue  # made by NamedTuple or Enum
        if function.__name__ != "__init__":
            assert function.__doc__, f"{name}.{function.__name__}"
        first, *rest = inspect.signature(function).parameters.values()
        for parameter in [*rest] if first.name in {"self", "cls"} else [first, *rest]:
            assert parameter.annotation is not parameter.empty, f"{name}.{function.__name__}: {parameter.name}"
        assert "return" in function.__annotations__, f"{name}.{function.__name__}"


def test_every_hook_is_documented_and_answers_a_list() -> None:
    found = {name: value for name, value in vars(hooks.Hooks).items() if not name.startswith("_")}
    assert found
    for name, function in found.items():
        assert function.__doc__, name
        assert function.__annotations__["return"].startswith("list["), name


def protocol_table() -> dict[str, tuple[int, int]]:
    """Return the errors of docs/protocol.md: kind to HTTP status and exit code."""
    section = PROTOCOL.partition("### Errors")[2].partition("\n### ")[0]
    cells = re.findall(r"\| `(\w+)` \| (\d+)[^|]*\| (\d+) ", section)
    return {kind: (int(http), int(exit_code)) for kind, http, exit_code in cells}


def test_the_errors_are_those_of_the_protocol() -> None:
    assert {kind: (error.code.http, error.code.exit) for kind, error in KINDS.items()} == protocol_table()


def test_json_rpc_codes_stay_out_of_what_others_reserve() -> None:
    standard = {-32700, -32600, -32601, -32602, -32603, -32000}
    assert {error.code.rpc for error in KINDS.values()} <= standard
    assert api.Invalid.code.rpc == -32602
    assert api.Broken.code.rpc == -32603
    assert api.Conflict.code == Code(409, 4, -32000)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_goes_out_in_the_one_shape(kind: str) -> None:
    error = KINDS[kind](
        "what is wrong",
        field="/a",
        hint="the cure",
        data={"n": 1},
        faults=(api.Fault("/a", "bad"), api.Fault("/b", "c", "d")),
    )
    assert error.to_wire() == {
        "kind": kind,
        "message": "what is wrong",
        "field": "/a",
        "hint": "the cure",
        "data": {
            "n": 1,
            "faults": [{"field": "/a", "message": "bad"}, {"field": "/b", "message": "c", "hint": "d"}],
        },
    }
    assert KINDS[kind]("only this").to_wire() == {"kind": kind, "message": "only this"}
