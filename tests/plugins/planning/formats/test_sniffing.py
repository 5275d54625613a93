from __future__ import annotations

import pytest

from coder_plugins.planning.formats import FORMATS, sniff

from .examples import EXAMPLES

KINDS = {"beads": "beads", "taskwarrior": "taskwarrior", "github": "github", "vtodo": "vtodo", "checklist": "markdown"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*-small*")), ids=lambda path: path.name)
def test_the_text_alone_tells_the_format(path: object) -> None:
    text = path.read_text(encoding="utf-8")
    assert sniff(text) == KINDS[path.name.split("-")[0]]
    assert sniff("\ufeff" + text, path.name) == KINDS[path.name.split("-")[0]]


@pytest.mark.parametrize(
    ("text", "name", "format"),
    [
        ("", "x.md", "markdown"),
        ("", "X.JSONL", "beads"),
        ("", "x.ics", "vtodo"),
        ("[a](b)\n- [ ] c", "", "markdown"),
        ("words", "x.txt", None),
        ("{}", "", None),
    ],
)
def test_the_name_helps_where_the_text_does_not(text: str, name: str, format: str | None) -> None:
    assert sniff(text, name) == format


def test_every_format_is_registered_under_its_name() -> None:
    assert {name: entry.name for name, entry in FORMATS.items()} == {name: name for name in KINDS.values()}
