import timeit
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_ipc.framing import HEADER_LIMIT, FrameError, FrameParser, encode

LIMIT = 100_000


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def feed_all(pieces: list[bytes]) -> tuple[list[bytes], tuple[str, str] | None]:
    """Return the bodies and the fault that a stream ends with, as a server sees them."""
    parser, bodies = FrameParser(LIMIT), []
    try:
        for piece in pieces:
            bodies += parser.feed(piece)
    except FrameError as fault:
        return [*bodies, *fault.bodies], (fault.kind, str(fault))
    return bodies, None


bodies_strategy = st.lists(st.binary(max_size=300) | st.just(b"Content-Length: 3\r\n\r\nabc"), max_size=8)
cuts_strategy = st.lists(st.integers(min_value=0, max_value=5000), max_size=12)
header_strategy = st.sampled_from(
    [
        b"Content-Length: %d\r\n\r\n",
        b"content-length:%d\r\n\r\n",
        b"CONTENT-LENGTH:  %d \t\r\n\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
        b"Content-Length: %d\r\nX-Empty:\r\n\r\n",
    ]
)


@given(bodies_strategy, cuts_strategy)
def test_any_split_of_any_frames_yields_the_same_bodies(bodies, cuts):
    assert feed_all(split(b"".join(map(encode, bodies)), cuts)) == (bodies, None)


@given(st.lists(st.tuples(header_strategy, st.binary(max_size=80)), max_size=6), cuts_strategy)
def test_other_headers_and_other_case_are_read_alike(frames, cuts):
    stream = b"".join(header % len(body) + body for header, body in frames)
    assert feed_all(split(stream, cuts)) == ([body for _, body in frames], None)


@given(
    bodies_strategy,
    st.binary(max_size=400) | st.from_regex(rb"[Cc]ontent-Length: ?[-+_0-9]{0,8}(\r\n|\n){0,3}.{0,20}"),
    cuts_strategy,
)
def test_garbage_after_frames_gives_the_same_verdict_however_it_is_split(bodies, garbage, cuts):
    stream = b"".join(map(encode, bodies)) + garbage
    whole, whole_fault = feed_all([stream])
    pieces, pieces_fault = feed_all(split(stream, cuts))
    assert pieces == whole
    assert (pieces_fault is None) == (whole_fault is None)
    if whole_fault and pieces_fault:
        assert pieces_fault[0] == whole_fault[0]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_garbage_never_holds_more_than_a_header_or_a_body(pieces):
    parser = FrameParser(1000)
    for piece in pieces:
        with suppress(FrameError):
            parser.feed(piece)
        assert parser.pending <= HEADER_LIMIT + 1000


def test_every_byte_alone():
    bodies = [b"", b"{}", b"x" * 1000, "\u00e4".encode()]
    assert feed_all([bytes([byte]) for byte in b"".join(map(encode, bodies))]) == (bodies, None)


@pytest.mark.parametrize(
    ("stream", "kind", "words"),
    [
        (b'{"jsonrpc":"2.0"}\n', "malformed", "starts with a header line"),
        (b"\r\n\r\n", "malformed", "is no header line"),
        (b"Content-Length: 2\n\n{}", "malformed", "CR LF"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "malformed", "is no header line"),
        (b"Content-Type: json\r\n\r\n", "malformed", "no Content-Length"),
        (b"Content-Length: -5\r\n\r\n", "malformed", "decimal"),
        (b"Content-Length: +5\r\n\r\nabcde", "malformed", "decimal"),
        (b"Content-Length: 1_0\r\n\r\n0123456789", "malformed", "decimal"),
        (b"Content-Length: 0x10\r\n\r\n", "malformed", "decimal"),
        (b"Content-Length: \r\n\r\n", "malformed", "decimal"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "malformed", "twice"),
        (b"X: " + b"y" * HEADER_LIMIT, "malformed", "no empty line"),
        (b"Content-Length: 100001\r\n\r\n", "too_large", "limit of 100000 bytes"),
        (b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n", "too_large", "over the limit"),
    ],
)
def test_a_fault_says_what_is_wrong(stream, kind, words):
    with pytest.raises(FrameError, match=words) as caught:
        FrameParser(LIMIT).feed(stream)
    assert caught.value.kind == kind


def test_a_body_of_exactly_the_limit_passes_and_one_more_is_refused_before_it_arrives():
    parser = FrameParser(10)
    assert parser.feed(encode(b"0123456789")) == [b"0123456789"]
    with pytest.raises(FrameError):
        parser.feed(b"Content-Length: 11\r\n\r\n")


def test_a_header_block_of_exactly_the_limit_passes():
    tail = b"\r\nContent-Length: 1\r\n\r\n"
    block = b"X: " + b"y" * (HEADER_LIMIT - 3 - len(tail)) + tail
    assert len(block) == HEADER_LIMIT
    assert FrameParser(LIMIT).feed(block + b"!") == [b"!"]
    with pytest.raises(FrameError):
        FrameParser(LIMIT).feed(b"X" + block + b"!")


def test_bodies_before_a_fault_are_kept_and_the_parser_stays_broken():
    parser = FrameParser(LIMIT)
    with pytest.raises(FrameError) as caught:
        parser.feed(encode(b"good") + b"!bad")
    assert caught.value.bodies == (b"good",)
    with pytest.raises(FrameError) as again:
        parser.feed(encode(b"later"))
    assert again.value.bodies == ()


def test_pipelined_frames_cost_a_small_multiple_of_slicing():
    body = b"x" * 200
    data = encode(body) * 2000
    parser = FrameParser(LIMIT)

    def slices():
        out, position = [], 0
        for _ in range(2000):
            out.append(data[position : position + 200])
            position += 200
        return out

    assert parser.feed(data) == [body] * 2000
    # interleaved minima: the ratio holds on a busy machine too
    runs = [(timeit.timeit(lambda: parser.feed(data), number=5), timeit.timeit(slices, number=5)) for _ in range(7)]
    assert min(a for a, _ in runs) < 20 * min(b for _, b in runs)


def test_a_large_body_in_small_pieces_costs_a_small_multiple_of_gathering_them():
    parser, frame = FrameParser(8_000_000), encode(b"x" * 8_000_000)
    pieces = [frame[start : start + 1024] for start in range(0, len(frame), 1024)]

    def parse():
        assert len([body for piece in pieces for body in parser.feed(piece)]) == 1

    def gather():
        buffer = bytearray()
        for piece in pieces:
            buffer += piece
        assert len(bytes(buffer)) == len(frame)

    # copying all that is pending at each feed would move 32 GB
    runs = [(timeit.timeit(parse, number=1), timeit.timeit(gather, number=1)) for _ in range(5)]
    assert min(a for a, _ in runs) < 10 * min(b for _, b in runs)
