"""How a run that is followed is shown: a live tree on a terminal, lines elsewhere, JSON where asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coder_local.cli.api import Output, clean, is_terminal, to_json, width

from . import times, tree
from .state import RunState, StepState, summary

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live


class View:
    """Shows one run; use it in a `with` statement. This one shows nothing but remarks."""

    def __init__(self, state: RunState, output: Output) -> None:
        self.state = state
        self.output = output

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    @contextmanager
    def aside(self) -> Generator[None]:
        """Stand aside while a person is asked something."""
        yield

    def loaded(self) -> None:
        """Show the state, which was read whole; it may be read again later."""

    def said(self, item: dict[str, Any], lines: list[str]) -> None:
        """Show an item that came, with the lines of output that it made whole."""

    def ended(self) -> None:
        """Show the end of the run; the state was read once more."""

    def note(self, text: str) -> None:
        """Remark something beside the run, in one or more lines."""
        for line in text.split("\n"):
            self.output.note(line)


def choose(state: RunState, output: Output, *, as_json: bool) -> View:
    """Return the view that fits who reads."""
    if as_json:
        return JsonView(state, output)
    return Screen(state, output) if is_terminal(sys.stdout) else Lines(state, output)


class JsonView(View):
    """One JSON object a line: `started`, then every item as the daemon says it, then `ended`."""

    _begun = False

    def loaded(self) -> None:
        """Show the state when it was first read."""
        if not self._begun:
            self._print({"type": "started", "run": self.state.run})
        self._begun = True

    def said(self, item: dict[str, Any], lines: list[str]) -> None:  # noqa: ARG002
        """Show an item."""
        self._print(item)

    def ended(self) -> None:
        """Show the end."""
        self._print({"type": "ended", "run": self.state.run})

    def _print(self, value: dict[str, Any]) -> None:
        print(to_json(value, sys.stdout), flush=True)  # noqa: T201


class Lines(View):
    """A line for whatever happens, as in the log of a build."""

    _begun = False

    def loaded(self) -> None:
        """Show the state when it was first read."""
        if self._begun:
            return
        self._begun = True
        run = self.state.run
        self._print(f"{times.clock(run.get('started_at'))}  run {run['id']} ({self.state.name}) {self.state.status}")
        for step in self.state.steps.values():
            if step.status not in {"pending", "ready"}:
                at = times.NEVER if step.started is None else times.clock_of(step.started)
                self._print(f"{at}  {step.key} {step.status}")

    def said(self, item: dict[str, Any], lines: list[str]) -> None:
        """Show an item."""
        at, step = times.clock(item.get("at")), str(item.get("step") or "")
        found = self.state.steps.get(step)
        for line in lines:
            self._print(f"{at}  {step} | {line}")
        if item["type"] == "run":
            self._print(f"{at}  run {item.get('status')}")
        elif item["type"] == "wait" and not item.get("approval"):  # what a person must decide is told as a remark
            self._print(f"{at}  {step} waits: {item.get('status')}")
        elif item["type"] == "step":
            reason = found.reason if found else ""
            again = f" (attempt {found.attempts})" if found and found.attempts > 1 else ""
            self._print(f"{at}  {step} {item.get('status')}{again}{f': {reason}' if reason else ''}")

    def ended(self) -> None:
        """Show the end."""
        self._print("\n".join(closing(self.state)))

    def _print(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201


class Screen(View):
    """The tree of the run, drawn anew as it changes."""

    _live: Live | None = None

    def __enter__(self) -> Screen:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextmanager
    def aside(self) -> Generator[None]:
        """Take the tree off the screen meanwhile."""
        self._stop()
        try:
            yield
        finally:
            self._begin()

    def note(self, text: str) -> None:
        """Remark something above the tree."""
        if self._live is None:
            super().note(text)
        else:
            self._live.console.print(clean(text, keep_lines=True), style="yellow", markup=False, highlight=False)

    def ended(self) -> None:
        """Show the end."""
        self._stop()
        print("\n".join(closing(self.state)), flush=True)  # noqa: T201

    def _begin(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 44 ms, for a terminal only
        from rich.live import Live  # noqa: PLC0415 - see above

        console = Console(markup=False, highlight=False, emoji=False)
        self._live = Live(_Drawing(self.state), console=console, refresh_per_second=8)
        self._live.start(refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Drawing:
    """The tree as rich draws it, at the size that the terminal has just then."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text  # noqa: PLC0415 - loaded with the rest of it

        now = time.time()
        with self._state.lock:
            head = f"{self._state.name}: {self._state.status}, {summary(self._state.counts())}"
            found = tree.lines(self._state, now)
        shown = tree.fitted(found, max(options.size.height - 3, 3))
        signs = signs_for(console.encoding)
        columns = max(options.max_width - 1, 20)
        yield Text(head[:columns], style="bold", no_wrap=True)
        for line, shown_as in zip(shown, tree.text(shown, columns, signs), strict=True):
            yield Text(shown_as, style=_STYLES.get(line.status, ""), no_wrap=True, overflow="ellipsis")
        if len(shown) < len(found):
            yield Text(f"  and {len(found) - len(shown)} more", style="dim")


_STYLES = {
    "pending": "dim", "ready": "dim", "skipped": "dim", "running": "cyan", "waiting": "yellow",
    "needs_decision": "bold yellow", "succeeded": "green", "reused": "green", "failed": "bold red", "cancelled": "red",
}  # fmt: skip


def closing(state: RunState) -> list[str]:
    """Return the lines that end the showing of a run: what failed, with the end of its output, and how it ended."""
    found: list[str] = []
    for step in state.steps.values():
        if step.status == "failed" and not _is_fan_out(state, step):
            found += [f"{step.key} failed: {step.reason}", *(f"  | {line}" for line in step.tail)]
    run = state.run
    taken = times.length(times.between(run.get("started_at"), run.get("finished_at")))
    error: dict[str, Any] = run.get("error") or {}
    why = f": {clean(str(error['message']))}" if error.get("message") else ""
    found.append(f"run {run.get('id')} {state.status}{f' after {taken}' if taken else ''}{why}")
    return found


def _is_fan_out(state: RunState, step: StepState) -> bool:
    return any(each.parent == step.key for each in state.steps.values())


def tree_text(state: RunState) -> str:
    """Return the tree of a run as it stands, cut to the terminal."""
    found = tree.lines(state, time.time(), outputs=False)
    return "\n".join(tree.text(found, width(), signs_for(sys.stdout.encoding)))


def signs_for(encoding: str | None) -> dict[str, str]:
    """Return the signs that a console of an encoding can show."""
    return tree.SIGNS if (encoding or "").lower().startswith("utf") else tree.PLAIN_SIGNS
