"""docs/execution.md: what it shows is what happens, and its tables are complete."""

import contextlib
import re
from pathlib import Path

import pytest

from coder_local.api import Effect
from coder_local.cli.shipped import bundled
from coder_plugins.execution.cli import codes
from coder_plugins.execution.definitions.records import Retry, StepSpec
from coder_plugins.execution.operations import step_kinds
from tests.docs.page import Reader, blocks_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "execution.md").read_text("utf-8")


def rows(heading: str) -> list[str]:
    """Return the first words of the rows of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    assert section, heading
    return re.findall(r"^\| `([\w ]+)`", section, re.MULTILINE)


@pytest.mark.alone
def test_the_sessions_of_the_page_are_what_is_seen(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        try:
            for block in blocks_of(PAGE):
                reader.follow(block)
        finally:
            stop(reader)
        assert len(reader.ran) == 4
        assert (tmp_path / "release.txt").read_text() == "1.2.4"


def stop(reader: Reader) -> None:
    """Stop the daemon that the sessions started."""
    reader.follow(blocks_of("```console\n$ coder-local stop\n```\n")[0])
    reader.ran.pop()


def test_every_effect_class_is_explained() -> None:
    assert rows("After a crash") == [effect.value for effect in Effect]


def test_every_kind_of_step_is_explained() -> None:
    assert sorted(rows("Kinds of steps")) == sorted([*(kind.name for kind in step_kinds()), "map"])


def test_what_the_page_says_of_fields_and_numbers_is_so() -> None:
    retry, step = Retry(), StepSpec(key="a", kind="timer")
    assert (retry.first, retry.factor, retry.cap, retry.jitter, step.timeout) == (
        "PT1S",
        2.0,
        "PT100S",
        "full",
        "PT10M",
    )
    fields = set(StepSpec.__struct_fields__)
    named = {
        "needs",
        "join",
        "run_if",
        "when",
        "foreach",
        "matrix",
        "max_parallel",
        "fan_in",
        "compensate",
        "on_unknown",
    }
    assert named | set(rows("Retries and limits")) - {"deadline"} <= fields
    assert all(f"`{name}`" in PAGE for name in named)


def test_every_command_and_exit_code_is_told() -> None:
    told = PAGE.partition("\n## Commands")[2]
    for each in bundled():
        assert f"`{each.words[-1]}`" in told or f"`coder-local {' '.join(each.words)}" in told, each.words
    for code in (codes.FAILED, codes.TIMED_OUT, codes.CANCELLED, codes.UNDECIDED):
        assert re.search(rf"\b{code} if ", told)
