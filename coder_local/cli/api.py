"""What a plugin's own commands may import of this command: everything here, and nothing else of `coder_local`.

A command is a `Command`: `configure` adds its options to a `Parser`, `run` does its work with a `Session` and returns
the exit code. Both are imported only when the command is used, so its module may load what it needs; what a terminal
alone needs (rich) it loads where it draws.
"""

from __future__ import annotations

from .app import Command
from .errors import INTERRUPTED, Failure, invalid
from .output import Output, is_terminal, to_json, width
from .parser import Parser
from .session import Session, ask
from .shapes import is_list, is_object, rows_of
from .shipped import Shipped
from .tables import clean, moment, table
from .texts import json_of, read_file

__all__ = [
    "INTERRUPTED",
    "Command",
    "Failure",
    "Output",
    "Parser",
    "Session",
    "Shipped",
    "ask",
    "clean",
    "invalid",
    "is_list",
    "is_object",
    "is_terminal",
    "json_of",
    "moment",
    "read_file",
    "rows_of",
    "table",
    "to_json",
    "width",
]
