"""Markdown checklists: `- [ ] text`, `[x]` done, `[/]` or `[>]` in work, `[-]` dropped.

Deeper indent makes the item above the parent; headings are the section; indented text under an item is its description.
Words such as `!high #tag ~2h` stay in the title. An id is made of the source's path, the headings and items above, and
the text, so the same list read again names the same tasks; equal items are numbered. An item whose id cannot be made so
carries it: `<!-- id: ... -->`. Only checklists are written: text between them is no part of a task, and of the links
only parents show.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from msgspec import Struct, field
from msgspec.structs import replace

from .foreign import ForeignLink, ForeignTask, ImportFault, Parsed, Status
from .links import settled
from .reading import Reader

_ITEM = re.compile(
    r"(?P<indent>[ \t]*)(?P<bullet>[-*+]|\d{1,9}[.)])[ \t]+\[(?P<mark>[ xX/>!?-])\](?:[ \t]+(?P<text>.*))?", re.DOTALL
)
_HEADING = re.compile(r" {0,3}(?P<level>#{1,6})[ \t]+(?P<text>.+?)(?:[ \t]+#+)?[ \t]*", re.DOTALL)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_COMMENT = re.compile(r"[ \t]*<!-- id: (?P<id>\S+) -->[ \t]*\Z")
_LOOKS_LIKE_ITEM = re.compile(r"([ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)(\\*\[[ xX/>!?-]\](?:[ \t]|\Z))", re.DOTALL)
_ESCAPED_ITEM = re.compile(r"([ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)\\(\\*\[[ xX/>!?-]\](?:[ \t]|\Z))", re.DOTALL)
_MARKS: dict[str, Status] = {
    " ": "todo",
    "!": "todo",
    "?": "todo",
    "x": "done",
    "X": "done",
    "/": "doing",
    ">": "doing",
    "-": "dropped",
}
_MARK_WORDS: dict[Status, str] = {"backlog": " ", "todo": " ", "doing": "/", "review": "/", "done": "x", "dropped": "-"}

CARRIES = frozenset({"id", "title", "description", "status", "links"})
"""What a checklist can say of a task; of the status not `backlog` and `review`, of the links the parent."""

_Section = tuple[tuple[int, str], ...]


class _Item(Struct):
    """One checklist item being read or written."""

    task: ForeignTask
    indent: int
    content: int
    path: tuple[str, ...]
    notes: list[str] = field(default_factory=list[str])


class _Naming:
    """Makes the ids of one text."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._counts: dict[str, int] = {}

    def id(self, section: _Section, path: tuple[str, ...]) -> str:
        """Return the id of the next item at this place; `path` ends with the item's own text."""
        place = "\x1f".join([*(text for _, text in section), "", *path])
        digest = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        count = self._counts[digest] = self._counts.get(digest, 0) + 1
        return f"{self._source}#{digest}" if count == 1 else f"{self._source}#{digest}-{count}"


def _width(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))


class _Checklist:
    """Reads one text line by line."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.naming = _Naming(source)
        self.items: list[_Item] = []
        self.faults: list[ImportFault] = []
        self.section: _Section = ()
        self.ancestors: list[_Item] = []
        self.current: _Item | None = None
        self.blanks = 0
        self.fence = ""
        self.seen: dict[str, int] = {}

    def take(self, number: int, line: str) -> None:
        """Read the next line."""
        if not line.strip():
            self.blanks += 1
            return
        if self.current and _width(line) <= self.current.indent:
            self.current, self.fence = None, ""  # a code block inside an item ends with the item
        fenced, match = bool(self.fence), _FENCE.match(line)
        if match:
            self.fence = match[1] if not fenced else "" if match[1].startswith(self.fence) else self.fence
        item = None if fenced or match else _ITEM.fullmatch(line)
        if item:
            self._item(number, item)
        elif self.current:
            self._note(self.current, line)
        elif not fenced and not match:
            self._text(line)
        self.blanks = 0

    def _text(self, line: str) -> None:
        heading = _HEADING.fullmatch(line)
        if heading:
            level = len(heading["level"])
            self.section = (*(part for part in self.section if part[0] < level), (level, heading["text"]))
        self.ancestors = []

    def _note(self, item: _Item, line: str) -> None:
        text = line[item.content :] if not line[: item.content].strip(" ") else line.lstrip(" \t")
        item.notes += [""] * (self.blanks if item.notes else 0)
        item.notes.append(_ESCAPED_ITEM.sub(r"\1\2", text, count=1))

    def _item(self, number: int, match: re.Match[str]) -> None:
        comment = _COMMENT.search(match["text"] or "")
        text = (match["text"] or "")[: comment.start() if comment else None].strip()
        indent = _width(match["indent"] + "-")
        while self.ancestors and self.ancestors[-1].indent >= indent:
            self.ancestors.pop()
        parent = self.ancestors[-1] if self.ancestors else None
        path = (*(parent.path if parent else ()), text)
        natural = self.naming.id(self.section, path)
        task = self._task(unquote(comment["id"]) if comment else natural, text, match, parent)
        self.current = _Item(task, indent, len(match["indent"]) + len(match["bullet"]) + 1, path)
        self.ancestors.append(self.current)
        if self._sound(number, task):
            self.items.append(self.current)

    def _task(self, id: str, title: str, match: re.Match[str], parent: _Item | None) -> ForeignTask:
        worded = {"mark": match["mark"], "bullet": match["bullet"]}
        usual = {"mark": _MARK_WORDS[_MARKS[match["mark"]]], "bullet": "-"}
        return ForeignTask(
            id=id,
            title=title,
            status=_MARKS[match["mark"]],
            links=(ForeignLink("parent", parent.task.id),) if parent else (),
            format="markdown",
            unknown={"source": self.source, "section": [list(part) for part in self.section]},
            original={name: word for name, word in worded.items() if word != usual[name]},
        )

    def _sound(self, number: int, task: ForeignTask) -> bool:
        reader = Reader({"title": task.title}, line=number)
        reader.title("title")
        if "\0" in task.title:
            reader.fault("title", "the text holds the character NUL", "remove it")
        if task.id in self.seen:
            hint = "remove the comment of the copy, so that it gets an id of its own"
            reader.fault("id", f"the id {task.id} was used before, on line {self.seen[task.id]}", hint)
        self.seen.setdefault(task.id, number)
        self.faults.extend(reader.faults)
        return not reader.faults


def parse(text: str, *, source: str = "") -> Parsed:
    """Read all checklists of a text; `source` is its path, best relative to the project, and part of every id."""
    checklist = _Checklist(source.replace("\\", "/"))
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        checklist.take(number, line.removesuffix("\r"))
    tasks = [replace(item.task, description="\n".join(item.notes)) for item in checklist.items]
    return Parsed(tasks, checklist.faults)


class _Writer:
    """Writes tasks as nested lists under their headings."""

    def __init__(self, tasks: Sequence[ForeignTask]) -> None:
        sources = {str(task.unknown.get("source", "")) for task in tasks if task.format == "markdown"}
        # ids made from several paths cannot be made again from one text
        self.naming = _Naming(sources.pop()) if len(sources) == 1 else None
        self.children: dict[str | None, list[ForeignTask]] = {}
        self.lines: list[str] = []
        self.done: set[str] = set()
        known = {task.id for task in tasks}
        for task in tasks:
            parents = [link.target for link in task.links if (link.kind, link.inward) == ("parent", False)]
            parent = next((id for id in parents if id in known and id != task.id), None)
            self.children.setdefault(parent, []).append(task)

    def write(self, tasks: Sequence[ForeignTask]) -> str:
        """Return the text; tasks whose parents go round in a circle come last, each as it stands."""
        groups: dict[_Section, list[ForeignTask]] = {}
        for task in self.children.get(None, []):
            for depth in range(len(_section(task)) + 1):
                groups.setdefault(_section(task)[:depth], [])
            groups[_section(task)].append(task)
        section: _Section = ()
        for section in _in_depth(groups):
            if section:
                level, text = section[-1]
                self.lines += [""] if self.lines and self.lines[-1] else []
                self.lines += [f"{'#' * level} {text}", ""]
            for task in groups[section]:
                self._item(task, section, (), 0)
        for task in tasks:
            self._item(task, section, (), 0)
        return "".join(f"{line}\n" for line in self.lines)

    def _item(self, task: ForeignTask, section: _Section, above: tuple[str, ...], indent: int) -> None:
        if task.id in self.done:
            return
        self.done.add(task.id)
        old = task.original if task.format == "markdown" else {}
        mark, bullet = str(old.get("mark", "")), str(old.get("bullet", "-"))
        mark = mark if _MARKS.get(mark) == task.status else _MARK_WORDS[task.status]
        title = re.sub(r"[\r\n]+", " ", task.title)
        natural = self.naming.id(section, (*above, title)) if self.naming else None
        plain = natural == task.id and not _COMMENT.search(title)
        comment = "" if plain else f" <!-- id: {quote(task.id, safe='/#:@.,+=~')} -->"
        self.lines.append(f"{' ' * indent}{bullet} [{mark}] {title}{comment}")
        content = indent + len(bullet) + 1
        for line in _noted(task.description):
            escaped = _LOOKS_LIKE_ITEM.sub(r"\1\\\2", line, count=1)
            self.lines.append(" " * content + escaped if line.strip() else "")
        for child in self.children.get(task.id, []):
            self._item(child, section, (*above, title), content)


def _noted(description: str) -> list[str]:
    """Return the lines of a description, with an open code block closed, as it would swallow the items that follow."""
    if not description.strip():
        return []
    lines = description.replace("\r\n", "\n").strip("\n").split("\n")
    fence = ""
    for line in lines:
        match = _FENCE.match(line)
        if match:
            fence = match[1] if not fence else "" if match[1].startswith(fence) else fence
    return [*lines, fence] if fence else lines


def _section(task: ForeignTask) -> _Section:
    if task.format == "markdown":
        return tuple((int(level), str(text)) for level, text in task.unknown.get("section", []))
    return ((2, re.sub(r"[\r\n]+", " ", task.project)),) if task.project else ()


def _in_depth(groups: dict[_Section, list[ForeignTask]]) -> list[_Section]:
    """Return the sections, each one followed by those inside it, in the order they came."""
    order = {section: place for place, section in enumerate(groups)}
    return sorted(groups, key=lambda section: [order[section[: depth + 1]] for depth in range(len(section))])


def render(tasks: Sequence[ForeignTask]) -> str:
    """Write the tasks as checklists, children under parents, below the headings they came from or their project."""
    held = settled(tasks, {("parent", False)})
    return _Writer(held).write(held)
