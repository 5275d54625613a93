"""The words of a command that is none of the built-in ones: an operation, or a group of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import catalogue, operation, stopped
from .errors import Failure
from .output import width
from .parser import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .catalogue import Operation
    from .session import Session

_HELP = ("-h", "--help")


def run(
    session: Session,
    arguments: Sequence[str],
    *,
    before: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    known: Iterable[str] = (),
    otherwise: Callable[[Session, Sequence[str], Sequence[str]], int | None] | None = None,
) -> int:
    """Run the operation that the leading words spell, or show the group that they name.

    `before` are the options that stood in front, `extra` built-in commands of the group with their summaries, `known`
    the words that could have been meant instead of the first. `otherwise` is asked to run words that no operation
    begins with, and answers None if it knows none either.
    """
    words = _words(arguments)
    operations = _look_up(session, words)
    spelt = catalogue.longest(operations, words)
    found = catalogue.find(session.client, spelt.name) if spelt else None
    if found is not None:
        return operation.run(session, found, [*before, *_rest(arguments, len(found.words))])
    asks_help = any(argument in _HELP for argument in arguments)
    if not words or (catalogue.below(operations, words) and (asks_help or len(words) == len(_plain(arguments)))):
        text = describe(words, catalogue.below(operations, words), extra or {})
        print(text, file=sys.stdout if asks_help else sys.stderr)
        return 0 if asks_help else Failure("invalid", "").exit_code
    if words and not operations:
        if otherwise is not None and (code := otherwise(session, arguments, before)) is not None:
            return code
        if why := stopped.failure(session.client, words[0]):
            raise why
    raise _unknown(operations or catalogue.fetch(session.client), words, known)


def _plain(arguments: Sequence[str]) -> list[str]:
    """Return the words before the first option."""
    end = next((index for index, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return list(arguments[:end])


def _words(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the leading words as those of operations are written; `changes.list` is two of them."""
    first, *others = _plain(arguments) or [""]
    return tuple(word.replace("_", "-") for word in (*first.split("."), *others) if word)


def _rest(arguments: Sequence[str], taken: int) -> Sequence[str]:
    return arguments[1 + max(taken - len(arguments[0].split(".")), 0) :]


def _look_up(session: Session, words: Sequence[str]) -> list[Operation]:
    """Return the operations that the words may mean; most catalogues are far larger than what one command needs."""
    prefix = ".".join(word.replace("-", "_") for word in words[:2])
    found = catalogue.fetch(session.client, prefix)
    if catalogue.longest(found, words) or catalogue.below(found, words):
        return found
    return catalogue.fetch(session.client, f"{prefix.partition('.')[0]}.") if words else found


def _unknown(operations: Iterable[Operation], words: Sequence[str], known: Iterable[str]) -> Failure:
    """Return the failure that says which word leads nowhere, and the nearest that does."""
    operations = list(operations)
    depth = 0
    while depth < len(words) and catalogue.below(operations, words[: depth + 1]):
        depth += 1
    place = " ".join(["coder-local", *words[:depth]])
    possible = [*catalogue.below(operations, words[:depth]), *(known if depth == 0 else ())]
    hint = did_you_mean(words[depth], possible) or f"see {place} --help"
    return Failure("not_found", f"{place} has no command {words[depth]!r}", hint=hint)


def describe(words: Sequence[str], children: Mapping[str, list[Operation]], extra: Mapping[str, str]) -> str:
    """Return the help of a group: the words that may follow, with what they do or where they lead."""
    rows = {word: _summary(len(words), found) for word, found in children.items()} | dict(extra)
    place = " ".join(["coder-local", *words])
    return f"usage: {place} COMMAND ...\n\ncommands:\n{columns(rows)}\n\nMore: {place} COMMAND --help"


def columns(rows: Mapping[str, str]) -> str:
    """Return words and their explanations beside each other, cut to the width of the terminal."""
    left = min(max(map(len, rows), default=0), 24)
    room = max(width() - left - 4, 16)
    return "\n".join(
        f"  {word:<{left}}  {text if len(text) <= room else text[: room - 1] + '…'}".rstrip()
        for word, text in sorted(rows.items())
    )


def _summary(depth: int, found: list[Operation]) -> str:
    own = next((each for each in found if len(each.words) == depth + 1), None)
    if own is not None:
        return own.summary
    following = dict.fromkeys(each.words[depth + 1] for each in found)
    return ", ".join(following)
