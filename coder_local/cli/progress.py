"""A progress bar on standard error, drawn once the daemon reports progress and somebody watches."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .output import is_terminal
from .tables import clean

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID


class Bar:
    """The progress of one call; use it in a `with` statement, and hand `report` to the call."""

    def __init__(self, label: str, *, quiet: bool) -> None:
        self._label = clean(label)
        self._quiet = quiet or not is_terminal(sys.stderr)
        self._drawn: tuple[Progress, TaskID] | None = None

    def report(self, params: dict[str, Any]) -> None:
        """Draw the params of a `$/progress`."""
        if self._quiet:
            return
        progress, task = self._drawn or self._draw()
        message = params.get("message")
        label = f"{self._label}: {clean(message)}" if isinstance(message, str) and message else self._label
        progress.update(task, completed=_number(params.get("done")), total=_number(params.get("total")), label=label)

    def _draw(self) -> tuple[Progress, TaskID]:
        from rich.console import Console  # noqa: PLC0415 - 44 ms that most calls need not
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        label = TextColumn("{task.fields[label]}", markup=False)
        bar = Progress(
            label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
        )
        self._drawn = bar, bar.add_task("", total=None, label=self._label)
        bar.start()
        return self._drawn

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn[0].stop()  # also after Ctrl-C, or the terminal stays without its cursor


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None
