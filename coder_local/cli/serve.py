"""`coder-local serve`: the one command that becomes the daemon.

Its arguments are read by hand: argparse costs more than a tenth of the time a daemon may take to answer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_VALUES = {
    "--data-dir": ("DIR", "the data directory (CODER_LOCAL_DATA_DIR, else the user's data folder)"),
    "--socket": ("PATH", "address to listen at instead of the data directory's own"),
    "--http-port": ("N", "port on loopback, 0 for any (the default)"),
    "--parent-pid": ("N", "stop when this process has ended and no other client is attached"),
    "--linger": ("SECONDS", "stop so long after the last client has left"),
    "--log-level": ("LEVEL", "debug, info (the default), warning or error"),
}
_FLAGS = {
    "--no-http": "open no HTTP door",
    "--safe": "load no plugins of others (or CODER_LOCAL_SAFE=1)",
    "--watch-stdin": "stop when standard input ends and no other client is attached",
    "--take-over": "follow the daemon that runs instead of attaching to it: it is asked to go",
    "--allow-network-directory": "take a data directory on a network drive that no other machine uses",
}
_ON = ("1", "true", "yes", "on")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_ABOUT = """
Attach to the daemon of the data directory, or become it. Prints one line of JSON on standard output when it answers;
its log goes to standard error. It stops at SIGTERM, Ctrl-C and `coder-local stop`.
"""

EXIT_INVALID = 2
EXIT_INTERRUPTED = 130
"""Ctrl-C came before there was a daemon that it could stop."""


class _Wrong(Exception):
    """The arguments are not those of `serve`; the message says why."""


def is_meant(arguments: Sequence[str]) -> bool:
    """Tell whether the first word among the arguments is `serve`."""
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            return argument == "serve"
        # options may stand before the word: whoever starts a daemon for others appends `serve --data-dir DIR`
        if argument in _VALUES:
            next(rest, None)
    return False


def run(arguments: Sequence[str]) -> int:
    """Serve, and return the exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(_help())
        return 0
    try:
        given = _read(arguments)
        port, parent, linger = _number(given, "--http-port"), _number(given, "--parent-pid"), _seconds(given)
        level = _level(given)
        if parent == 0:
            raise _Wrong("--parent-pid: 0 is no process; give the id of the one that is to be watched")
        if port is not None and port > 65535:
            raise _Wrong(f"--http-port: {port} is no port; give 0 to 65535")
        if port is not None and "--no-http" in given:
            raise _Wrong("--http-port and --no-http exclude each other; give one of them")
    except _Wrong as fault:
        print(f"error: {fault}\nhint: see coder-local serve --help", file=sys.stderr)
        return EXIT_INVALID
    from coder_ipc.runtime import default_data_dir  # noqa: PLC0415 - the help needs none of it
    from coder_local._daemon.main import ServeOptions, serve  # noqa: PLC0415 - the help needs none of it

    named = given.get("--data-dir")
    return serve(
        ServeOptions(
            data_dir=Path(named).expanduser().absolute() if named else default_data_dir(),
            socket=given.get("--socket"),
            http_port=None if "--no-http" in given else port or 0,
            parent_pid=parent,
            watch_stdin="--watch-stdin" in given,
            linger=linger,
            log_level=level,
            safe="--safe" in given or os.environ.get("CODER_LOCAL_SAFE", "").lower() in _ON,
            take_over="--take-over" in given,
            allow_network="--allow-network-directory" in given,
        )
    )


def _read(arguments: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in _FLAGS:
            given[argument] = ""
        elif name in _VALUES:
            following = value if equals else next(rest, None)
            if not following:
                raise _Wrong(f"{name} needs a value: {_VALUES[name][0]}")
            given[name] = following
        elif argument.startswith("-"):
            raise _Wrong(f"serve has no option {name}{_nearest(name)}")
        else:
            words.append(argument)
    if words != ["serve"]:
        raise _Wrong(f"serve takes options only, not {words[1]!r}")
    return given


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

    close = get_close_matches(name, [*_VALUES, *_FLAGS], 1)
    return f"; did you mean {close[0]}?" if close else ""


def _number(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _Wrong(f"{name}: {text!r} is no number from 0 on")
    return int(text)


def _seconds(given: dict[str, str]) -> float | None:
    text = given.get("--linger")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise _Wrong(f"--linger: {text!r} is no number of seconds from 0 on")
    return seconds


def _level(given: dict[str, str]) -> str:
    level = given.get("--log-level", "info").upper()
    if level not in _LEVELS:
        raise _Wrong(f"--log-level: {level.lower()!r} is no level; give {', '.join(_LEVELS).lower()}")
    return level


def _help() -> str:
    rows = [(f"{name} {metavar}", text) for name, (metavar, text) in _VALUES.items()]
    rows += _FLAGS.items()
    options = "\n".join(f"  {left:<25}  {text}" for left, text in rows)
    return f"usage: coder-local serve [options]\n{_ABOUT}\noptions:\n{options}"
