"""From arguments to a command: the built-in ones by name, all others by the daemon's operations."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, NamedTuple

from coder_ipc.errors import IpcError
from coder_local import __version__

from . import output, shipped
from .parser import SETTINGS_OPTIONS, SETTINGS_WITH_VALUE, Parser, Settings, settings
from .session import Session

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

SUMMARIES = {
    "serve": "attach to the daemon of the data directory, or become it",
    "status": "show whether the daemon runs, and its plugins",
    "stop": "stop the daemon",
    "call": "call any operation by its wire name",
    "events": "show what happened, and with --follow what happens",
    "undo": "take back the last change, or a named one",
    "plugins": "list, enable, disable, reload, write and check plugins",
    "backup": "write a copy of the database to a file",
    "restore": "put a backup in the database's place",
    "doctor": "look for what is wrong, and say what to do, or do it",
    "salvage": "put what can be read of a damaged database in its place",
    "support-bundle": "write facts for whoever helps to a file, without secrets and content",
    "completion": "print a script that completes commands in bash, zsh or fish",
    "help": "show the groups of operations, or the help of a command",
}

HANDOVER = "daemon handover"
"""A command in place of the operation of that name, which only a successor can use."""
HANDOVER_SUMMARY = "let another version take the place of the daemon that runs"

_EPILOG = """
Every operation of the daemon is a command too; `changes.list` for example:
  coder-local changes list --limit 5
`coder-local help` lists their groups, and --help behind any words tells more.
"""


class Command(NamedTuple):
    """A built-in command: what it adds to its parser, and what it does."""

    configure: Callable[[Parser], object]
    run: Callable[[Session, Namespace], int]
    about: str = ""
    """What its help says beyond the summary."""


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments spell; return its exit code, whatever happens."""
    output.prepare_streams()
    try:
        code = _answered(arguments)
        return output.finish() or code
    except KeyboardInterrupt:
        return output.interrupted()
    except BrokenPipeError:
        return output.abandon()
    except SystemExit as end:  # argparse has shown a help
        return end.code if isinstance(end.code, int) else 0


def _answered(arguments: Sequence[str]) -> int:
    try:
        return _run(arguments)
    except IpcError as error:
        return output.Output(as_json="--json" in arguments).error(error)


def _run(arguments: Sequence[str]) -> int:
    before, words = _split(arguments)
    if "--version" in before:
        print(f"coder-local {__version__}")
        return 0
    if not words or {"-h", "--help"} & set(before):
        print(_overview())
        return 0 if words or before else 2
    name, *rest = words
    if name == "help" and not rest:
        rest = ["--help"]
    elif name == "help":
        name, *rest = [*rest, "--help"]
    with Session(_settings([*before, *rest])) as session:
        return _command(session, name, rest, before)


def _command(session: Session, name: str, rest: list[str], before: list[str]) -> int:
    # `events` is a command of its own, and the group of the operation `events.list`
    is_group = name == "events" and rest[:1] == ["list"]
    if [name, *rest[:1]] == HANDOVER.split():
        from .handover import COMMANDS as OWN  # noqa: PLC0415 - each command loads what it needs, and no other's

        return _carry_out(session, OWN[HANDOVER], HANDOVER, HANDOVER_SUMMARY, [*before, *rest[1:]])
    if not is_group and (command := _load(name)) is not None:
        return _carry_out(session, command, name, SUMMARIES[name], [*before, *rest])
    if name == "plugins":
        from . import plugins  # noqa: PLC0415 - each command loads what it needs, and no other's

        return plugins.run(session, rest, before)
    code = _shipped(session, shipped.bundled(), [name, *rest], before)
    if code is not None:
        return code
    from . import group  # noqa: PLC0415 - see above

    words = {"help": rest, "undo": ["changes", "undo", *rest]}.get(name, [name, *rest])
    return group.run(session, words, before=before, known=SUMMARIES, otherwise=_of_plugin)


def _carry_out(session: Session, command: Command, name: str, summary: str, arguments: list[str]) -> int:
    parser = Parser(f"coder-local {name}", f"{summary[:1].upper()}{summary[1:]}.\n\n{command.about}".strip())
    command.configure(parser)
    parser.add_settings()
    parsed = parser.read(arguments)
    session.apply(settings(parsed))
    return command.run(session, parsed)


def _shipped(session: Session, commands: list[shipped.Found], arguments: list[str], before: list[str]) -> int | None:
    """Run the command of a plugin that the leading words spell; None if none begins with the first."""
    begun = [each for each in commands if each.words[0] == arguments[0]]
    if not begun:
        return None
    words = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    found = shipped.longest(begun, words)
    if found is None:
        asks_help = bool({"-h", "--help"} & set(arguments))
        text = shipped.group(words, begun, asks_help=asks_help)
        print(text, file=sys.stdout if asks_help else sys.stderr)
        return 0 if asks_help else 2
    rest = [*before, *arguments[len(found.words) :]]
    return _carry_out(session, found.load(), " ".join(found.words), found.summary, rest)


def _of_plugin(session: Session, arguments: Sequence[str], before: Sequence[str]) -> int | None:
    return _shipped(session, shipped.of_plugin(session, arguments[0]), list(arguments), list(before))


def _load(name: str) -> Command | None:
    """Return a built-in command, importing what it needs and nothing of the others."""
    match name:
        case "status" | "stop":
            from .life import COMMANDS  # noqa: PLC0415
        case "call":
            from .call import COMMANDS  # noqa: PLC0415
        case "events":
            from .events import COMMANDS  # noqa: PLC0415
        case "backup" | "restore":
            from .backup import COMMANDS  # noqa: PLC0415
        case "doctor":
            from .doctor import COMMANDS  # noqa: PLC0415
        case "salvage":
            from .salvage import COMMANDS  # noqa: PLC0415
        case "support-bundle":
            from .bundle import COMMANDS  # noqa: PLC0415
        case "completion":
            from .completion import COMMANDS  # noqa: PLC0415
        case _:
            return None
    return COMMANDS[name]


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options in front of the first word, and all from it on."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] in SETTINGS_WITH_VALUE else 1
    before = list(arguments[:index])
    known = {*SETTINGS_OPTIONS, "-h", "--help", "--version"}
    for argument in before:
        if argument.startswith("-") and argument.partition("=")[0] not in known:
            _settings_parser().read([argument])
    return before, list(arguments[index:])


def _settings_parser() -> Parser:
    parser = Parser("coder-local", usage="coder-local [options] COMMAND ...")
    parser.add_settings()
    return parser


def _settings(arguments: Sequence[str]) -> Settings:
    """Return the settings that stand anywhere among the arguments: a command's own parser may need the daemon first."""
    parser = _settings_parser()
    known, _ = parser.parse_known_args([argument for argument in arguments if argument not in {"-h", "--help"}])
    return settings(known)


def summaries() -> dict[str, str]:
    """Return the first words of the commands that need no daemon to be known, each with what it does."""
    return SUMMARIES | shipped.summaries(shipped.bundled())


def _overview() -> str:
    from .group import columns  # noqa: PLC0415 - the help's own

    parser = _settings_parser()
    about = f"The local backend of an IDE, from a terminal.\n\ncommands:\n{columns(summaries())}"
    parser.description, parser.epilog = about, _EPILOG
    parser.add_argument("--version", action="store_true", help="show the version")
    return parser.format_help().rstrip()
