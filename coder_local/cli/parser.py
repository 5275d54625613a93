"""argparse, with this command's options and its way of saying what is wrong."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from coder_ipc.runtime import default_data_dir

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


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
        self.meant: dict[str, str] = {}
        """Hints for options that other commands have, by the option."""

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
        known, unknown = self.parse_known_args(self._sorted(arguments))
        unknown = [argument for argument in unknown if argument != "--"]
        if not unknown:
            return known
        first = unknown[0].partition("=")[0]
        if not first.startswith("-"):
            self.error(f"{self.prog} takes no argument {first!r} here")
        hint = self.meant.get(first) or self._nearest(first) or f"see {self.prog} --help"
        raise invalid(f"{self.prog} has no option {first}", hint=hint)

    def _sorted(self, arguments: Sequence[str]) -> list[str]:
        """Join each option with its value, and put what are no options last.

        argparse takes `--sort -title` for two options, and of `A --json B` it gives only the first to the command.
        """
        options: list[str] = []
        words: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            action = self._option_string_actions.get(argument)
            if argument == "--":
                words += rest
            elif argument.startswith("--") and action is not None and action.nargs is None:
                value = next(rest, None)
                options.append(argument if value is None else f"{argument}={value}")
            else:
                (words if self._is_word(argument) else options).append(argument)
        return [*options, "--", *words] if words else options

    def _is_word(self, argument: str) -> bool:
        if not argument.startswith("-") or argument == "-" or _NEGATIVE.fullmatch(argument):
            return True
        return " " in argument and argument.partition("=")[0] not in self._option_string_actions

    def _nearest(self, name: str) -> str | None:
        """Return the hint for a misspelt option: one of the command's own, or a common one that is very near."""
        common = [option for option in self._option_string_actions if option in (*SETTINGS_OPTIONS, "-h", "--help")]
        own = [option for option in self._option_string_actions if option not in common]
        word = name.lstrip("-")
        begun = [option for option in own if len(word) > 1 and option.startswith(f"--{word}")]
        if begun and len(begun) <= _BEGUN:
            return f"did you mean {' or '.join(begun)}?"
        return _near(word, own, _VERY_NEAR) or _near(word, common, _VERY_NEAR) or _near(word, own)


def _near(word: str, options: Iterable[str], cutoff: float = 0.6) -> str | None:
    # compared without the dashes, which all have in common
    by_word = {option.lstrip("-"): option for option in options}
    return did_you_mean(word, by_word, cutoff, by_word.get)


_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")
_BEGUN = 3
_VERY_NEAR = 0.75


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


def did_you_mean(
    word: str, known: Iterable[str], cutoff: float = 0.6, shown: Callable[[str], str | None] = str
) -> str | None:
    """Return the hint that names the nearest known words, None when none is near.

    `cutoff` is how near at least, 1 for the same word; `shown` says how a word is written in the hint.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

    close = get_close_matches(word, list(known), 2, cutoff)
    return f"did you mean {' or '.join(shown(each) or each for each in close)}?" if close else None
