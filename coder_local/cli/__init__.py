"""The `coder-local` command: the daemon's operations for a person at a terminal, and for scripts.

Promises, each kept by a test:

- `--help`, `--version`, `status` and `call` import nothing heavy: no asyncio, msgspec, sqlite3, aiohttp, rich.
- Every operation of every plugin is a command, with its help; nobody writes one. A plugin may bring more beside those.
- In a pipe, standard output holds the daemon's answer as JSON and nothing else; all remarks go to standard error.
  (Commands that plugins bring say for themselves what they write.)
- A failing command exits with the code of its error's kind (docs/protocol.md), 130 after Ctrl-C.
- Text of records cannot steer the terminal, and no console encoding makes a command crash.

Modules: `app` (words to commands), `shipped` and `api` (the commands of plugins, and what they may import), `serve`,
`session` (one daemon, asked by one command), `catalogue` (its operations), `schema` and `members` (a JSON Schema as
options), `operation` and `group` (a command for each operation), `stopped` and `stale` (why it did not work), `output`,
`tables`, `columns`, `phrases` and `progress` (what is shown); the built-in commands have modules by their names.
"""

from __future__ import annotations

import sys

from coder_ipc import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (without the program's name) spells and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    from . import serve  # noqa: PLC0415 - each path loads its own part only: `serve` must not load argparse

    if serve.is_meant(arguments):
        return serve.run(arguments)
    if arguments[:1] == [program.PLUGIN]:
        from coder_local._contracts import docs  # noqa: PLC0415 - see above
        from coder_local._isolation import child  # noqa: PLC0415

        child.main(docs.of_fields)
        return 0
    from . import app  # noqa: PLC0415 - see above

    return app.run(arguments)
