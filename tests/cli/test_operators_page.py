"""What the page for operators says of the command is so."""

import re
from pathlib import Path

from coder_ipc.errors import EXIT_CODES
from coder_local._daemon import main as daemon
from coder_local._store.backup import SNAPSHOTS
from coder_local.cli import backup, doctor, errors, serve
from coder_local.cli.session import LINGER
from coder_plugins.execution.cli import codes

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")


def test_every_exit_code_is_in_the_table_with_its_kinds():
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE))
    assert all(f"`{kind}`" in rows[str(code)] for kind, code in EXIT_CODES.items())
    own = {codes.FAILED, codes.CANCELLED, codes.UNDECIDED, codes.TIMED_OUT}
    own |= {
        0,
        doctor.FAILED,
        errors.INTERRUPTED,
        errors.UNREAD,
        daemon.EXIT_DATA,
        daemon.EXIT_LOCKED,
        daemon.EXIT_NO_DIRECTORY,
    }
    assert {int(code) for code in rows} == set(EXIT_CODES.values()) | own


def test_every_option_of_serve_is_told():
    assert all(f"`{name}" in PAGE for name in (*serve._VALUES, *serve._FLAGS))


def test_the_files_and_numbers_are_those_of_the_code():
    assert f"`{backup.DATABASE}`" in PAGE
    assert f"`{backup.REPLACED}/`" in PAGE
    assert SNAPSHOTS == 5
    assert f"a command started has {LINGER} " in PAGE
