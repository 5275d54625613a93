"""A batch: several calls in one message, answered in one message when the last of them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from coder_local.api import Error, TooLarge

ANSWERS_LIMIT = 64 * 1024 * 1024
"""Bytes of answers that are kept for one batch: they wait in memory for the last of them."""
_RESULT = b',"result":'
_encode = msgspec.json.Encoder().encode


class Batch:
    """Collects the answers of a batch and sends them as one message."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
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
            if self._size + len(answer) > ANSWERS_LIMIT:
                self.full, answer = True, _without_result(answer)
            self._size += len(answer)
            self._answers.append(answer)
        self._open -= 1
        self._finish()

    def _finish(self) -> None:
        if not self._begun or self._open:
            return
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


def wire_of(error: Error) -> dict[str, Any]:
    """Return an error as JSON-RPC has it."""
    return {"code": error.code.rpc, "message": error.message, "data": error.to_wire()}
