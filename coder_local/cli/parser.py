"""argparse, with this command's options and its way of saying what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from coder_ipc.runtime import default_data_dir

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Settings(NamedTuple):
    """The options that every command takes."""

    data_dir: Path
    json: bool = False
    yes: bool = False
    quiet: bool = False
    timeout: float | None = None


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class Parser(argparse.ArgumentParser):
    """A parser that raises `Failure` instead of ending the program, and knows the nearest option."""

    def __init__(
        self, prog: str, description: str = "", *, usage: str | None = None, epilog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            usage=literal(usage) if usage else None,
            # argparse replaces %(prog)s in a description, and a docstring may hold anything
            description=description.replace("%(prog)", "% (prog)"),
            epilog=epilog,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self.taken: frozenset[str] = frozenset()

    def add_settings(self) -> None:
        """Add the options that every command takes."""
        group = self.add_argument_group("options of every command")
        for flags, options in _SETTINGS:
            group.add_argument(*flags, default=argparse.SUPPRESS, **options)

    def error(self, message: str) -> NoReturn:
        """Raise `Failure`."""
        raise invalid(message, hint=f"see {self.prog} --help")

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the parsed arguments. Raises `Failure` naming the first unknown one and the nearest known."""
        known, unknown = self.parse_known_args(self._joined(arguments))
        if not unknown:
            return known
        first = unknown[0].partition("=")[0]
        if not first.startswith("-"):
            self.error(f"{self.prog} takes no argument {first!r} here")
        hint = did_you_mean(first, self._option_string_actions) or f"see {self.prog} --help"
        raise invalid(f"{self.prog} has no option {first}", hint=hint)

    def _joined(self, arguments: Sequence[str]) -> list[str]:
        """Join each option with its value: argparse takes `--sort -title` for two options."""
        joined: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            action = self._option_string_actions.get(argument)
            if argument == "--":
                return [*joined, argument, *rest]
            if argument.startswith("--") and action is not None and action.nargs is None:
                value = next(rest, None)
                joined.append(argument if value is None else f"{argument}={value}")
            else:
                joined.append(argument)
        return joined


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError(text)
    return seconds


_seconds.__name__ = "number of seconds"

_SETTINGS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--data-dir",), {"metavar": "DIR", "help": "the data directory (or CODER_LOCAL_DATA_DIR)"}),
    (("--json",), {"action": "store_true", "help": "print JSON, also on a terminal"}),
    (("-y", "--yes"), {"action": "store_true", "help": "confirm at once what would be asked"}),
    (("-q", "--quiet"), {"action": "store_true", "help": "no remarks and no progress"}),
    (("--timeout",), {"metavar": "SECONDS", "type": _seconds, "help": "give up, and cancel, after so long"}),
)  # fmt: skip
SETTINGS_WITH_VALUE = ("--data-dir", "--timeout")
SETTINGS_OPTIONS = tuple(flag for flags, _ in _SETTINGS for flag in flags)


def settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings among parsed arguments."""
    named = getattr(arguments, "data_dir", None)
    return Settings(
        data_dir=Path(named).expanduser().absolute() if named else default_data_dir(),
        json=getattr(arguments, "json", False),
        yes=getattr(arguments, "yes", False),
        quiet=getattr(arguments, "quiet", False),
        timeout=getattr(arguments, "timeout", None),
    )


def literal(text: str) -> str:
    """Return a text that argparse shows as it is."""
    return text.replace("%", "%%")


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the hint that names the nearest known words, None when none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

    close = get_close_matches(word, list(known), 2)
    return f"did you mean {' or '.join(close)}?" if close else None
