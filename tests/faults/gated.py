"""The daemon with more migrations for its core, from the folder `CODER_LOCAL_TEST_CORE`, and SQL that waits.

`SELECT gate('/path/of/a/fifo')` comes to its end when the test has opened that FIFO for writing and closed it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

from coder_local._store import airlock, migrations, store

_open_writer = store.open_writer


def gate(fifo: str) -> int:
    with Path(fifo).open("rb") as waiting:
        waiting.read()
    return 1


def open_writer(path: Path) -> sqlite3.Connection:
    connection = _open_writer(path)
    connection.create_function("gate", 1, gate)
    return connection


if __name__ == "__main__":
    more = migrations.find_files(Path(os.environ["CODER_LOCAL_TEST_CORE"]))
    airlock.CORE = airlock.CORE._replace(files=(*airlock.CORE.files, *more))
    store.open_writer = open_writer  # type: ignore[attr-defined]
    from coder_local.cli import main

    sys.exit(main())
