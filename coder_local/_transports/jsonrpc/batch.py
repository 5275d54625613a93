"""A batch: several calls in one message, answered in one message when the last of them is; the room for answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from coder_local.api import Error, TooLarge

ANSWERS_LIMIT = 64 * 1024 * 1024
"""Bytes of answers that are kept for one connection: in batches for the last of each, and for a peer to read them."""
_RESULT = b',"result":'
_encode = msgspec.json.Encoder().encode


class Room:
    """How much one connection may keep of answers; `unsent` returns the bytes that wait for its peer."""

    __slots__ = ("_unsent", "kept")

    def __init__(self, unsent: Callable[[], int]) -> None:
        self._unsent = unsent
        self.kept = 0
        """Bytes in batches that are not complete."""

    def holds(self, size: int) -> bool:
        """Tell whether one more answer may be kept; where none waits it may have any size."""
        waiting = self.kept + self._unsent()
        return not waiting or waiting + size <= ANSWERS_LIMIT


class Batch:
    """Collects the answers of a batch and sends them as one message."""

    def __init__(self, send: Callable[[bytes], None], room: Room) -> None:
        self._send = send
        self._room = room
        self._answers: list[bytes] = []
        self._size = 0
        self.then: list[Callable[[], None]] = []
        """What comes after the answers."""
        self._open = 0
        self._begun = False
        self.full = False
        """Whether an answer did not find room, so that no more calls should be begun."""

    def expect(self) -> Callable[[bytes], None]:
        """Return where one more answer goes; an empty one stands for a notification."""
        self._open += 1
        return self._take

    def begin(self) -> None:
        """All calls have been made: send as soon as all answers are there."""
        self._begun = True
        self._finish()

    def _take(self, answer: bytes) -> None:
        if answer:
            if self._size + len(answer) > ANSWERS_LIMIT or not self._room.holds(len(answer)):
                self.full, answer = True, _without_result(answer)
            self._size += len(answer)
            self._room.kept += len(answer)
            self._answers.append(answer)
        self._open -= 1
        self._finish()

    def _finish(self) -> None:
        if not self._begun or self._open:
            return
        self._room.kept -= self._size
        if self._answers:
            self._send(b"[" + b",".join(self._answers) + b"]")
        for each in self.then:
            each()


def _without_result(answer: bytes) -> bytes:
    """Return an answer that says that its result was left out; an error stays as it is."""
    head, found, _ = answer.partition(_RESULT)  # these bytes cannot stand in the id: a quote in a text is escaped
    if not found:
        return answer
    return b'%b,"error":%b}' % (head, _encode(wire_of(left_out("it was carried out, its answer is not kept"))))


def left_out(what: str) -> TooLarge:
    """Return the answer to a call of a batch whose answers are too large together; `what` became of it."""
    return TooLarge(
        f"the answers of this batch are over {ANSWERS_LIMIT // 2**20} MiB: {what}",
        hint="send fewer calls in a batch",
        data={"limit": ANSWERS_LIMIT},
    )


def no_room() -> TooLarge:
    """Return the answer to a call whose answer there is no room to keep, because the peer does not read."""
    return TooLarge(
        f"the answers that wait for this connection are over {ANSWERS_LIMIT // 2**20} MiB:"
        " it was carried out, its answer is not kept",
        hint="read the answers as they come, or ask for fewer at a time",
        data={"limit": ANSWERS_LIMIT},
    )


def wire_of(error: Error) -> dict[str, Any]:
    """Return an error as JSON-RPC has it."""
    return {"code": error.code.rpc, "message": error.message, "data": error.to_wire()}
