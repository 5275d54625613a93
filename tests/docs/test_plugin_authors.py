"""Following docs/plugin-authors.md alone leads to a working plugin, in one go."""

import contextlib
import re
from pathlib import Path

import pytest

from coder_local import api
from coder_local.api.errors import KINDS
from coder_local.testing.conformance import faults
from coder_local.testing.scaffold import check
from tests.docs.page import Block, Reader, blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugin-authors.md").read_text("utf-8")


@pytest.mark.alone
def test_following_the_page_leads_to_a_working_plugin(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for block in blocks_of(PAGE):
            reader.follow(block)
        assert {"console", "pycon", "http"} == set(reader.ran)
        assert len(reader.ran) >= 10
    assert check(tmp_path) == []


def test_an_answer_that_is_not_the_shown_one_is_noticed(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        with pytest.raises(AssertionError, match="line 7"):
            reader.follow(Block("pycon", "", ">>> 1 + 1\n3\n", 7))
        with pytest.raises(AssertionError, match="line 8"):
            reader.follow(Block("console", "", '$ python -c "print(2)"\n3\n', 8))


def test_the_tables_of_the_page_name_all_that_the_api_has() -> None:
    section = PAGE.partition("## Everything in `coder_local.api`")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(api.__all__)


def test_the_table_of_errors_is_the_one_that_is_raised() -> None:
    section = PAGE.partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d+) \|", section, re.MULTILINE)
    assert [(name, kind, int(http), int(exit)) for name, kind, http, exit in rows] == [
        (error.__name__, kind, error.code.http, error.code.exit) for kind, error in KINDS.items()
    ]


def test_the_page_names_every_safety_word() -> None:
    section = PAGE.partition("## Safety words")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [word.value for word in api.Safety]


def test_the_notes_that_other_tests_use_are_as_the_page_teaches() -> None:
    from tests.support.notes import domain

    assert faults(domain) == []
