r"""One typed line to the draft of a task: `fix login !high #auth ~2h due fri after PLAN-12`.

The grammar, each part anywhere in the line:

- `!urgent`, `!high`, `!medium`, `!low`, `!none`: priority (their first letters will do);
- `#tag`; `~2h`, `~1d4h`, `~90m`: estimate; `@KEY`: project, by its key;
- `due` with a date: today, tomorrow, a weekday (the coming one, today not counted), next week (its Monday),
  next month (its first day), `+3d`, `in 3 days`, `2026-12-01`; `due:fri` does as well;
- `after PLAN-12`, or several keys parted by commas: waits for these tasks.

What is not understood stays in the title and is named, so nothing typed is lost. Quotes take text as it is
(`"#1 bug"`), and so does a backslash before a word (`\#1`). Any text is taken; none raises.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

import msgspec

from . import durations
from .days import plus

Priority = Literal["none", "low", "medium", "high", "urgent"]

_PRIORITIES: dict[str, Priority] = {
    "none": "none", "n": "none", "low": "low", "l": "low", "medium": "medium", "med": "medium", "m": "medium",
    "high": "high", "h": "high", "urgent": "urgent", "u": "urgent",
}  # fmt: skip
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WORD = re.compile(r'"(?P<quoted>[^"]*)"(?=\s|$)|(?P<plain>\S+)')
_TAG = re.compile(r"#(?!\d+$)(\w[\w/.:-]*)")
_PROJECT = re.compile(r"@([A-Z][A-Z0-9]{1,9})", re.ASCII)
_KEY = re.compile(r"[A-Z][A-Z0-9]{1,9}-[1-9]\d{0,8}", re.ASCII)
_LIKE_A_DATE = re.compile(r"\+?\d", re.ASCII)
_AHEAD = re.compile(r"\+?(\d{1,5})\s?(d|w|m|y|days?|weeks?|months?|years?)", re.ASCII)


class Draft(msgspec.Struct, frozen=True):
    """What one line says of a task to be made. `title` may be empty when the line held nothing else.

    `after` are keys of tasks to wait for, in the order typed. `unparsed` are the words that look like a part of the
    grammar but are not understood, whole parts such as `due 2026-13-45`; they are in the title too.
    """

    title: str
    priority: Priority | None = None
    tags: list[str] = msgspec.field(default_factory=list[str])
    estimate: int | None = None
    due: date | None = None
    after: list[str] = msgspec.field(default_factory=list[str])
    project: str | None = None
    unparsed: list[str] = msgspec.field(default_factory=list[str])


def capture(text: str, today: date, work: durations.Work = durations.STANDARD) -> Draft:
    """Return the draft that one line describes; `estimate` is in minutes of working time.

    A part given twice counts the first time, and the second one stays in the title.
    """
    return _Reader(text, today, work).read()


def parse_due(text: str, today: date) -> date | None:
    """Return the date that a due form means, or None when it is none of them or past the year 9999."""
    words = " ".join(text.casefold().split())
    if words in ("today", "tomorrow"):
        return plus(today, int(words == "tomorrow"), "d")
    if words == "next week":
        return plus(today, 7 - today.weekday(), "d")
    if words == "next month":
        first = plus(today, 1, "m")
        return first.replace(day=1) if first else None
    weekday = next((n for n, name in enumerate(_WEEKDAYS) if words in (name, name[:3], name[:4])), None)
    if weekday is not None:
        return plus(today, (weekday - today.weekday() - 1) % 7 + 1, "d")
    ahead = _AHEAD.fullmatch(words.removeprefix("in ")) if words.startswith(("+", "in ")) else None
    if ahead:
        return plus(today, int(ahead[1]), ahead[2][0])
    try:
        return date.fromisoformat(words) if re.fullmatch(r"\d{4}-\d\d-\d\d", words, re.ASCII) else None
    except ValueError:
        return None


class _Reader:
    """One reading of a line, word by word."""

    def __init__(self, text: str, today: date, work: durations.Work) -> None:
        self.words = [(found["plain"], found["quoted"]) for found in _WORD.finditer(text)]
        self.today = today
        self.work = work
        self.title: list[str] = []
        self.unparsed: list[str] = []
        self.tags: list[str] = []
        self.after: list[str] = []
        self.priority: Priority | None = None
        self.estimate: int | None = None
        self.due: date | None = None
        self.project: str | None = None

    def read(self) -> Draft:
        at = 0
        while at < len(self.words):
            plain, quoted = self.words[at]
            if plain is None:
                self.title.append(quoted)
                at += 1
            elif plain[0] == "\\" and len(plain) > 1:
                self.title.append(plain[1:])
                at += 1
            else:
                at += self._take(plain, at)
        title = " ".join(" ".join(self.title).split())
        return Draft(
            title, self.priority, list(dict.fromkeys(self.tags)), self.estimate, self.due,
            list(dict.fromkeys(self.after)), self.project, self.unparsed,
        )  # fmt: skip

    def _take(self, word: str, at: int) -> int:
        """Read the part that begins at `word`, else put the word in the title; return how many words were used."""
        folded = word.casefold()
        if folded == "due" or folded.startswith("due:"):
            used = self._take_due(word, at)
        elif folded == "after":
            used = self._take_after(at)
        else:
            used = int(self._take_sign(word))
        if not used:
            self.title.append(word)
            if (word[0] in "!#~@" and len(word) > 1 and word[1].isalnum()) or folded[:4] in ("due", "due:"):
                no_date = self._plain(at + 1, 1) if folded == "due" else None
                if no_date and _LIKE_A_DATE.match(no_date[0]):
                    self.title += no_date
                    self.unparsed.append(f"{word} {no_date[0]}")
                    return 2
                self.unparsed.append(word)
        return used or 1

    def _take_sign(self, word: str) -> bool:
        """Read a part that is one word with a sign before it."""
        if word[0] == "!" and self.priority is None:
            self.priority = _PRIORITIES.get(word[1:].casefold())
            return self.priority is not None
        if word[0] == "#" and (tag := _TAG.fullmatch(word)):
            self.tags.append(tag[1])
            return True
        if word[0] == "@" and self.project is None and (project := _PROJECT.fullmatch(word)):
            self.project = project[1]
            return True
        if word[0] == "~" and self.estimate is None:
            try:
                self.estimate = durations.parse_human(word[1:], self.work)
            except ValueError:
                return False
            return True
        return False

    def _take_due(self, word: str, at: int) -> int:
        """Read the longest date after `due`, up to three words; return the words used, 0 for none."""
        attached = [word[4:]] if word[3:4] == ":" and word[4:] else []
        for extra in range(3 - len(attached), -1, -1):
            following = self._plain(at + 1, extra)
            if following is None or self.due is not None:
                continue
            found = parse_due(" ".join((*attached, *following)), self.today)
            if found is not None:
                self.due = found
                return 1 + extra
        return 0

    def _take_after(self, at: int) -> int:
        """Read the task keys after `after`; commas and spaces after commas part them."""
        used = 0
        more = True
        while more and (word := self._plain(at + 1 + used, 1)):
            keys = [key for key in word[0].split(",") if key]
            if not keys or not all(_KEY.fullmatch(key) for key in keys):
                break
            self.after.extend(keys)
            used += 1
            more = word[0].endswith(",")
        return used + 1 if used else 0

    def _plain(self, at: int, count: int) -> list[str] | None:
        """Return `count` words from `at` if they are all there and none is quoted."""
        found = [plain for plain, _ in self.words[at : at + count] if plain is not None]
        return found if len(found) == count else None
