"""Rank keys: the order of a list a person can drag, one text key a row.

Keys compare as plain text (SQLite's BINARY collation, Python's `<`), so one move writes one row and two moves made
apart never renumber the list. The algorithm and its keys are those of the public `fractional-indexing` libraries in
base 62: an integer part whose first letter tells its length (`a0`, `a1`, ... `az`, `b00`; below zero `Zz`, `Zy`),
then a fraction that never ends in `0`.
"""

from __future__ import annotations

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FIRST = "a0"

_ZERO = DIGITS[0]
_LAST = DIGITS[-1]
_VALUE = {digit: value for value, digit in enumerate(DIGITS)}
_SMALLEST = "A" + _ZERO * 26


def validate(rank: str) -> str:
    """Return `rank` unchanged if it is a well-formed rank key, else raise ValueError with the cure."""
    _integer_part(rank)
    return rank


def between(before: str | None, after: str | None) -> str:
    """Return a rank strictly between two ranks; None stands for the open end of the list.

    Raises ValueError when a rank is malformed or `before` is not less than `after`.
    """
    if before is not None and after is not None and before >= after:
        raise ValueError(f"rank {before!r} must sort before {after!r}; give the neighbours in list order")
    if before is None:
        return _before(after)
    head = _integer_part(before)
    if after is None:
        higher = _increment(head)
        return head + _midpoint(before[len(head) :], None) if higher is None else higher
    ceiling = _integer_part(after)
    if head == ceiling:
        return head + _midpoint(before[len(head) :], after[len(ceiling) :])
    higher = _increment(head)
    if higher is not None and higher < after:
        return higher
    return head + _midpoint(before[len(head) :], None)


def sequence(before: str | None, after: str | None, count: int) -> list[str]:
    """Return `count` ranks in ascending order, all strictly between two ranks.

    Between two given ranks the new ones are spread by halving, so that keys stay short.
    Raises ValueError as `between` does, and when `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, not {count}")
    if count == 0:
        return []
    if after is None:
        ranks = [between(before, None)]
        while len(ranks) < count:
            ranks.append(between(ranks[-1], None))
        return ranks
    if before is None:
        ranks = [between(None, after)]
        while len(ranks) < count:
            ranks.append(between(None, ranks[-1]))
        return ranks[::-1]
    middle = between(before, after)
    left = count // 2
    return [*sequence(before, middle, left), middle, *sequence(middle, after, count - left - 1)]


def _before(after: str | None) -> str:
    if after is None:
        return FIRST
    head = _integer_part(after)
    if head == _SMALLEST:
        return head + _midpoint("", after[len(head) :])
    if head < after:
        return head
    lower = _decrement(head)
    # The published libraries answer the bare bottom here, a key they then refuse as input.
    return lower + _midpoint("", None) if lower == _SMALLEST else lower


def _integer_part(rank: str) -> str:
    """Return the integer part of a rank, having checked the whole of it."""
    first = rank[:1]
    if "a" <= first <= "z":
        length = ord(first) - ord("a") + 2
    elif "A" <= first <= "Z":
        length = ord("Z") - ord(first) + 2
    else:
        raise ValueError(f"rank {rank!r} must start with a letter A-Z or a-z, like {FIRST!r}")
    if len(rank) < length:
        raise ValueError(f"rank {rank!r} is too short: its first letter asks for {length} characters")
    foreign = next((digit for digit in rank if digit not in _VALUE), None)
    if foreign is not None:
        raise ValueError(f"rank {rank!r} holds {foreign!r}; only 0-9, A-Z and a-z are allowed")
    if rank == _SMALLEST:
        raise ValueError(f"rank {rank!r} is the bottom itself: nothing could ever be put before it")
    if len(rank) > length and rank[-1] == _ZERO:
        raise ValueError(f"rank {rank!r} must not end in {_ZERO!r}; leave the last zeros out")
    return rank[:length]


def _midpoint(low: str, high: str | None) -> str:
    """Return the shortest fraction between two fractions; `high` None stands for 1."""
    kept: list[str] = []
    while True:
        if high:
            common = 0
            while (low[common : common + 1] or _ZERO) == high[common]:
                common += 1
            kept.append(high[:common])
            low, high = low[common:], high[common:]
        floor = _VALUE[low[0]] if low else 0
        ceiling = _VALUE[high[0]] if high else len(DIGITS)
        if ceiling - floor > 1:
            return "".join(kept) + DIGITS[(floor + ceiling + 1) // 2]
        if high and len(high) > 1:
            return "".join(kept) + high[0]
        kept.append(DIGITS[floor])
        low, high = low[1:], None


def _increment(integer: str) -> str | None:
    """Return the next integer part, or None above the greatest one."""
    head, digits = integer[0], integer[1:]
    rest = digits.rstrip(_LAST)
    if rest:
        return head + rest[:-1] + DIGITS[_VALUE[rest[-1]] + 1] + _ZERO * (len(digits) - len(rest))
    if head == "Z":
        return FIRST
    if head == "z":
        return None
    longer = chr(ord(head) + 1)
    return longer + _ZERO * (len(digits) + (1 if longer > "a" else -1))


def _decrement(integer: str) -> str:
    """Return the integer part before; the smallest one is never asked for."""
    head, digits = integer[0], integer[1:]
    rest = digits.rstrip(_ZERO)
    if rest:
        return head + rest[:-1] + DIGITS[_VALUE[rest[-1]] - 1] + _LAST * (len(digits) - len(rest))
    if head == "a":
        return "Z" + _LAST
    shorter = chr(ord(head) - 1)
    return shorter + _LAST * (len(digits) + (1 if shorter < "Z" else -1))
