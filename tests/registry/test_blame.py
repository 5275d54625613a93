"""Whose code it was is told by the innermost frame of any plugin."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from coder_local._registry import blame
from coder_local._registry.plugins import Plugin, Source

BODY = """
from coder_local.api import Domain
domain = Domain("{name}")

def through(function):
    return function()
"""


def plugin(folder: Path, name: str) -> Plugin:
    place = folder / name
    place.mkdir()
    (place / "__init__.py").write_text(BODY.format(name=name))
    made = Plugin(name, Source.FOLDER, str(place))
    assert made.load() is not None
    return made


@pytest.fixture
def two(tmp_path: Path) -> tuple[Plugin, Plugin]:
    return plugin(tmp_path, "one"), plugin(tmp_path, "one_more")  # the name of one begins with that of the other


def through(plugin: Plugin, function: Any) -> Any:
    assert plugin.module is not None
    return plugin.module.through(function)


def test_the_innermost_plugin_on_the_stack_is_named(two: tuple[Plugin, Plugin]) -> None:
    one, other = two

    def here() -> FrameType:
        return sys._getframe()

    assert blame.by_stack(two, through(one, here)) is one
    assert blame.by_stack(two, through(one, lambda: through(other, here))) is other
    assert blame.by_stack(two, through(other, lambda: through(one, here))) is one
    assert blame.by_stack(two, here()) is None
    assert blame.by_stack(two, None) is None


def test_the_innermost_plugin_of_an_error_is_named(two: tuple[Plugin, Plugin]) -> None:
    one, other = two

    def fail() -> None:
        raise ValueError("no")

    for outer, inner in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="no") as caught:
            through(outer, lambda inner=inner: through(inner, fail))
        assert blame.by_error(two, caught.value) is inner
    with pytest.raises(ValueError, match="no") as caught:
        fail()
    assert blame.by_error(two, caught.value) is None


def test_an_operation_belongs_to_the_plugin_whose_domain_it_names(two: tuple[Plugin, Plugin]) -> None:
    assert blame.by_name(two, "one_more.thing") is two[1]
    assert blame.by_name(two, "other.thing") is None
