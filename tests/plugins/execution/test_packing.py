"""Output that is over is compressed, and reads as before from every offset."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_local.api import Invalid
from coder_plugins.execution.artifacts.jobs import clear_up
from coder_plugins.execution.logs.adapters import files, packing, reading
from coder_plugins.execution.processes.shim import frames

from .bench import Bench, step, work


def write(folder: Path, pieces: list[tuple[int, bytes]]) -> Path:
    log = folder / frames.NAME
    log.write_bytes(b"".join(frames.head(at, stream, len(data)) + data for at, (stream, data) in enumerate(pieces)))
    return log


@given(
    st.lists(st.tuples(st.sampled_from([frames.STDOUT, frames.STDERR]), st.binary(max_size=3_000)), min_size=1),
    st.integers(1, 5_000),
    st.integers(50, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_every_offset_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], limit: int, block: int
) -> None:
    folder = tmp_path_factory.mktemp("attempt")
    pieces = [*pieces, (frames.GAP, bytes(8)), (frames.STDOUT, b"x" * packing.LEAST)]
    log = write(folder, pieces)
    offsets = [0, *(frame.next for frame in frames.iterate(log))]
    before = [reading.read(folder, offset, limit) for offset in offsets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_BLOCK", block)
        packing.pack(folder)
    assert not log.exists()
    assert [reading.read(folder, offset, limit) for offset in offsets] == before


def test_a_log_that_grows_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(tmp_path, [(frames.STDOUT, b"x" * 10_000)])
    sync = packing.sync_folder

    def grow(folder: Path) -> None:
        sync(folder)
        with log.open("ab") as file:
            file.write(frames.head(0, frames.STDOUT, 1) + b"y")

    monkeypatch.setattr(packing, "sync_folder", grow)
    assert packing.pack(tmp_path) == 0
    assert [frame.data[-1:] for frame in reading.read(tmp_path, 0)[0]] == [b"x", b"y"]
    assert not (tmp_path / packing.NAME).exists()


async def test_output_of_ended_runs_is_compressed_and_that_of_others_not(bench: Bench) -> None:
    text = "".join(random.Random(1).choice(["passed\n", "failed\n", "skipped\n"]) for _ in range(100_000))
    id = await bench.finish(work("a", say=text))
    open_ = bench.start(work("a", say=text), step("w", "signal", {"name": "go"}))
    await bench.until(open_, "waiting")
    fresh = await bench.finish(work("a", say=text))
    then = bench.box.clock.now_ms() / 1000 - 7_200
    folders = [files.attempt_folder(bench.ctx.folder, run, "a", 1) for run in (id, open_, fresh)]
    for each in folders[:2]:
        os.utime(each / frames.NAME, (then, then))
        os.utime(each, (then, then))
    os.utime(folders[2] / frames.NAME, (then + 7_100, then + 7_100))
    first = bench.call("execution.logs", run=id, step="a")
    assert await clear_up(bench.ctx) > 500_000
    assert [(each / packing.NAME).exists() for each in folders] == [True, False, False]
    assert [(each / frames.NAME).exists() for each in folders] == [False, True, True]
    assert folders[0].stat().st_mtime == (folders[0] / packing.NAME).stat().st_mtime == then
    assert bench.call("execution.logs", run=id, step="a") == first
    with pytest.raises(Invalid):
        bench.call("execution.logs", run=id, step="a", offset=7)
    told = [item["text"] async for item in bench.box.items("execution.runs.follow", id=id) if item["type"] == "output"]
    assert "".join(told) == text


async def test_a_damaged_log_is_left_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    id = await bench.finish(work("a", say="x" * 10_000))
    log = files.attempt_folder(bench.ctx.folder, id, "a", 1) / frames.NAME
    log.write_bytes(b"\xff" * 10_000)
    then = bench.box.clock.now_ms() / 1000 - 7_200
    os.utime(log, (then, then))
    await clear_up(bench.ctx)
    assert log.exists()
    assert "was not compressed" in caplog.text
