"""However many steps a run has, and however large their outputs are, an answer is not: it comes page by page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coder_local.api import Invalid
from coder_plugins.execution.runs.rules import PAGE, PAGE_BYTES

from .bench import Bench, step, work

OPERATIONS = ("execution.runs.get", "execution.runs.record")


def pages(bench: Bench, operation: str, **given: Any) -> list[dict[str, Any]]:
    found = [bench.call(operation, **given)]
    while found[-1]["next_cursor"] is not None:
        found.append(bench.call(operation, **given, cursor=found[-1]["next_cursor"]))
    return found


def keys(page: dict[str, Any]) -> list[str]:
    return [each.get("step", each)["key"] for each in page["steps"]]


async def test_steps_come_in_order_and_each_once(bench: Bench) -> None:
    id = await bench.finish(work("a"), work("f", "a", foreach=list(range(450))), work("b", "f"), parallel=64)
    expected = ["a", "f", "b", *(f"f[{number}]" for number in range(450))]
    for operation in OPERATIONS:
        found = pages(bench, operation, id=id)
        assert [len(each["steps"]) for each in found] == [PAGE, PAGE, 53]
        assert [key for page in found for key in keys(page)] == expected
        assert [key for page in pages(bench, operation, id=id, limit=1) for key in keys(page)] == expected
    assert bench.call("execution.runs.get", id=id, limit=1)["counts"] == {"succeeded": 453}
    recorded = pages(bench, "execution.runs.record", id=id)
    attempts = [(each["key"], each["n"]) for page in recorded for view in page["steps"] for each in view["attempts"]]
    assert attempts == [(key, 1) for key in expected if key != "f"]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_page_ends_where_it_grows_large(bench: Bench, operation: str) -> None:
    size = 400_000
    id = await bench.finish(*(work(f"s{number}", size=size) for number in range(8)), work("small"))
    found = pages(bench, operation, id=id)
    assert [key for page in found for key in keys(page)] == [*(f"s{number}" for number in range(8)), "small"]
    for page in found:
        length = len(json.dumps(page["steps"]))
        assert length < 2 * PAGE_BYTES or len(page["steps"]) == 1
        assert length > PAGE_BYTES / 2 or page is found[-1]


async def test_the_input_of_attempts_is_measured_in_a_record(bench: Bench) -> None:
    steps = [step(f"e{number}", "file_edit", {"path": f"{number}", "content": "x" * 600_000}) for number in range(4)]
    id = await bench.finish(*steps)
    assert len(pages(bench, "execution.runs.get", id=id)) == 1
    assert len(pages(bench, "execution.runs.record", id=id)) == 4


async def test_a_record_of_one_step_has_its_waits_and_all_signals(bench: Bench) -> None:
    id = bench.start(work("a"), step("w", "signal", {"name": "go"}))
    await bench.until_step(id, "w", "waiting")
    bench.call("execution.runs.signal", id=id, name="go")
    await bench.until(id)
    first, second = pages(bench, "execution.runs.record", id=id, limit=1)
    assert ([each["key"] for each in first["waits"]], len(first["signals"])) == ([], 1)
    assert ([each["key"] for each in second["waits"]], len(second["signals"])) == (["w"], 0)
    (only,) = pages(bench, "execution.runs.record", id=id, step="w")
    assert (keys(only), len(only["waits"])) == (["w"], 1)


async def test_what_is_no_cursor(bench: Bench) -> None:
    id = await bench.finish(work("a"))
    for operation in OPERATIONS:
        for cursor in ("x", "1", "x/a", "-1/a", "1/", "\u0661/a"):
            with pytest.raises(Invalid) as caught:
                bench.call(operation, id=id, cursor=cursor)
            assert caught.value.field == "/cursor"
