"""How the shim is run: by this Python with as little as it can do with, or by the one-folder build, which is no Python."""

from __future__ import annotations

import sys
from pathlib import Path

from coder_ipc import program

_OPTIONS = ("-I", "-S", "-E", "-X", "utf8")
_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from shim.{} import main; main()"


def shim_command(module: str) -> list[str]:
    """Return the words that run a module of the shim, to put its arguments behind."""
    if program.is_frozen():
        return program.command("shim")
    return [sys.executable, *_OPTIONS, "-c", _PROGRAM.format(module), str(Path(__file__).parent)]
