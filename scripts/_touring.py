"""What all parts of the tour have: numbered steps, text, lists and progress on a console."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from coder_ipc import IpcError
from coder_ipc.client import Client

ROOT = Path(__file__).resolve().parent.parent
INDENT = 3

Row = tuple[tuple[str, ...], str, str]
"""One line of a list: short words in columns, a title, and what is told of it below."""


class TourError(Exception):
    """A step failed; the message says which, the cause why."""


class Stage:
    """Where the tour is shown; it counts the steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a step with its number and title, and how long it took. Raises `TourError` if it fails."""
        self._number += 1
        self.console.print(f"\n{self._number}. {title}", style="bold")
        started = time.monotonic()
        try:
            yield
        except (IpcError, OSError, KeyError, ValueError, TourError) as error:
            raise TourError(f"{self._number}. {title}") from error
        self.console.print(f"   ({time.monotonic() - started:.1f} s)", style="dim")

    def call_with_progress(self, client: Client, name: str, params: dict[str, Any], first: str) -> dict[str, Any]:
        """Call an operation, drawing its progress on a terminal."""
        if not self.console.is_terminal:
            answer: dict[str, Any] = client.call(name, params)
            return answer
        columns = (TextColumn("   {task.description}", markup=False), BarColumn(30), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task(first, total=None)

            def show(state: dict[str, Any]) -> None:
                progress.update(bar, completed=state["done"], total=state.get("total"), description=state["message"])

            shown: dict[str, Any] = client.call(name, params, on_progress=show)
        return shown

    def say(self, text: str) -> None:
        """Print a text, indented."""
        self.console.print(Padding(Text(text), (0, 0, 0, INDENT), expand=False))

    def list(self, rows: list[Row]) -> None:
        """Print a line for each row, its title cut to the width, and what is told of it below."""
        widths = [max(map(len, column)) for column in zip(*(words for words, _, _ in rows), strict=True)]
        for words, title, told in rows:
            start = " " * (2 * INDENT) + "".join(
                word.ljust(width + 2) for word, width in zip(words, widths, strict=True)
            )
            self.console.print(Text(start + title), no_wrap=True, overflow="ellipsis", crop=True)
            if told:
                self.console.print(Padding(Text(told, style="dim"), (0, 0, 0, 4 * INDENT), expand=False))
