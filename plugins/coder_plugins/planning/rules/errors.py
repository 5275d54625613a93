"""What planning's rules refuse, as exceptions that carry the facts of the refusal."""

from __future__ import annotations

from collections.abc import Sequence


class TooLarge(ValueError):
    """A graph is over the size that is answered in time; `count` and `limit` tell by how much."""

    def __init__(self, what: str, count: int, limit: int) -> None:
        super().__init__(f"{count} {what} are over the limit of {limit}; narrow it down to one project")
        self.count = count
        self.limit = limit


class Cyclic(ValueError):
    """Tasks wait for each other in a ring; `cycle` names them in order, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(f"tasks wait for each other: {' > '.join(cycle)}; remove one of these links")
        self.cycle = list(cycle)


class ThinData(ValueError):
    """There is too little history to forecast from; the message says what is missing."""
