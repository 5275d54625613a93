"""The log: read on from where one stopped, also behind half a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_plugins.execution.processes.shim import frames
from coder_plugins.execution.processes.shim.output import Output


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def write(log, *pieces: tuple[int, bytes], limit: int = 1 << 30, masks: list[bytes] | None = None) -> None:
    kept = Output(str(log), masks or [], limit)
    for stream, data in pieces:
        kept.feed(stream, data)
    kept.end(frames.STDOUT)
    kept.end(frames.STDERR)
    kept.close()


def test_both_streams_are_read_in_the_order_in_which_they_came(log):
    write(log, (frames.STDOUT, b"one"), (frames.STDERR, b"two"), (frames.STDOUT, b"three"))
    assert [(frame.stream, frame.data) for frame in frames.iterate(log)] == [(1, b"one"), (2, b"two"), (1, b"three")]


def test_no_log_is_no_frames(log):
    assert frames.read(log) == ([], 0)
    assert frames.tail(log, 10) == b""


def test_a_reader_goes_on_from_its_offset_and_waits_at_half_a_frame(log):
    write(log, (frames.STDOUT, b"one"), (frames.STDOUT, b"two"))
    whole = log.read_bytes()
    for size in range(len(whole) + 1):
        log.write_bytes(whole[:size])
        first, offset = frames.read(log)
        log.write_bytes(whole)
        second, end = frames.read(log, offset)
        assert [frame.data for frame in first + second] == [b"one", b"two"]
        assert end == len(whole)


def test_a_wrong_offset_is_refused_before_memory_is_asked_for(log):
    write(log, (frames.STDOUT, b"\xff" * 100))
    with pytest.raises(ValueError, match="no frame begins at byte 20"):
        frames.read(log, 20)


def test_a_read_stops_after_the_frame_that_reaches_its_limit(log):
    write(log, *[(frames.STDOUT, b"12345")] * 4)
    found, offset = frames.read(log, 0, 6)
    assert [frame.data for frame in found] == [b"12345"] * 2
    assert len(frames.read(log, offset)[0]) == 2


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=9), st.integers(0, 40))
def test_the_tail_is_the_end_of_the_output(tmp_path_factory, pieces, size):
    log = tmp_path_factory.mktemp("tail") / "log"
    write(log, *[(frames.STDOUT, piece) for piece in pieces])
    whole = b"".join(pieces)
    assert frames.tail(log, size) == (whole[-size:] if size else b"")
    with log.open("ab") as file:
        file.write(frames.head(0, frames.STDOUT, 5) + b"half")
    assert frames.tail(log, size) == (whole[-size:] if size else b"")


def test_over_the_limit_the_beginning_and_the_end_are_kept_and_the_rest_counted(log):
    pieces = [b"%04d" % number for number in range(1000)]
    write(log, *[(frames.STDOUT, piece) for piece in pieces], limit=1000)
    found, _ = frames.read(log)
    gap = next(number for number, frame in enumerate(found) if frame.stream == frames.GAP)
    before = b"".join(frame.data for frame in found[:gap])
    after = b"".join(frame.data for frame in found[gap + 1 :])
    whole = b"".join(pieces)
    assert whole.startswith(before)
    assert whole.endswith(after)
    assert len(after) == 500
    assert len(before) + found[gap].dropped + len(after) == len(whole)
    assert log.stat().st_size <= 1000 + 2 * frames.HEAD.size + 8


def test_a_limit_of_nothing_counts_all(log):
    write(log, (frames.STDOUT, b"abc"), (frames.STDERR, b"de"), limit=0)
    assert [frame.dropped for frame in frames.iterate(log)] == [5]


def test_single_bytes_of_both_streams_by_turns_are_held_in_little_memory(log):
    kept = Output(str(log), [], 0)
    kept._tail_limit = 1 << 20
    for _ in range(20_000):
        kept.feed(frames.STDOUT, b"o")
        kept.feed(frames.STDERR, b"e")
    assert len(kept._tail) <= 4096
    kept.close()
    found, _ = frames.read(log)
    assert sum(frame.dropped or len(frame.data) for frame in found) == 40_000


def test_a_secret_across_two_reads_is_not_in_the_log(log):
    write(log, (frames.STDOUT, b"key: gehe"), (frames.STDERR, b"x"), (frames.STDOUT, b"imnis\n"), masks=[b"geheimnis"])
    assert b"gehe" not in log.read_bytes()
    assert b"".join(frame.data for frame in frames.iterate(log) if frame.stream == frames.STDOUT) == b"key: ***\n"
