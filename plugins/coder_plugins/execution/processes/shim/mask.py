"""Masking of secret values in a stream of bytes that comes in pieces."""

from __future__ import annotations

import re

STARS = b"***"


class Masker:
    """Replaces every one of some byte strings by `***`, also one that is cut by the end of a piece.

    At each place the longest one wins, from left to right; the pieces together give what the whole in one piece gives.
    Bytes that may be the beginning of a value are held back until the next piece or the end tells: at most one byte
    fewer than the longest value has.
    """

    def __init__(self, values: list[bytes]) -> None:
        ordered = sorted({value for value in values if value}, key=lambda value: (-len(value), value))
        self._values = ordered
        self._longest = len(ordered[0]) if ordered else 0
        self._held = b""
        if ordered:
            self._pattern = re.compile(b"|".join(re.escape(value) for value in ordered))
            firsts = b"".join(re.escape(bytes((first,))) for first in {value[0] for value in ordered})
            self._first = re.compile(b"[" + firsts + b"]")

    def feed(self, piece: bytes) -> bytes:
        """Take a piece and return what can be told of it and of what was held back."""
        if not self._values:
            return piece
        data = self._held + piece
        undecided = self._undecided(data, 0)
        self._held = b""
        if undecided == len(data) and not any(value in data for value in self._values):
            return data  # the common piece, without the slower search by pattern
        done: list[bytes] = []
        place = 0
        while True:
            found = self._pattern.search(data, place)
            if undecided < place:
                undecided = self._undecided(data, place)
            # a short value at the undecided place may turn out to be the beginning of a longer one
            if found is None or undecided <= found.start():
                done.append(data[place:undecided])
                self._held = data[undecided:]
                return b"".join(done)
            done += (data[place : found.start()], STARS)
            place = found.end()

    def finish(self) -> bytes:
        """Return what was held back, as the end of the stream decides it."""
        rest, self._held = self._held, b""
        return self._pattern.sub(STARS, rest) if self._values else rest

    def _undecided(self, data: bytes, place: int) -> int:
        """Return where a value may begin that the data does not hold whole; the length of the data when nowhere."""
        first = max(place, len(data) - self._longest + 1)
        for found in self._first.finditer(data, first):
            rest = data[found.start() :]
            if any(len(value) > len(rest) and value.startswith(rest) for value in self._values):
                return found.start()
        return len(data)
