"""Run every bench and print the table: `all.py [NAME ...] [--save]`.

`--save` writes the table into `docs/performance.md`, with the date and the shape of the machine, between its two marks.
"""

from __future__ import annotations

import compileall
import importlib
import os
import re
import sys
from datetime import UTC, datetime

from measure import Figure, machine, table
from servers import ROOT

BENCHES = (
    "start", "get_socket", "create_socket", "list_socket", "http_get", "growth", "fanout", "memory", "planning",
    "cli_help", "attach_node", "execution", "frozen",
)  # fmt: skip
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- results: written by scripts/bench/all.py --save -->", "<!-- end of results -->"


def save(text: str) -> None:
    """Put the results between the marks of the page."""
    page = PAGE.read_text("utf-8")
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    new, count = re.subn(pattern, lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE.name} has no place between the marks for the results")
    PAGE.write_text(new, "utf-8")


def main() -> None:
    """Run, print, and save when asked to."""
    named = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    # Without bytecode a start takes twice as long, which says nothing about the program.
    for folder in ("coder_local", "plugins", "ipc"):
        compileall.compile_dir(ROOT / folder, quiet=2)
    figures: list[Figure] = []
    for name in named or BENCHES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += importlib.import_module(name).run()
    load = os.getloadavg()[1] if hasattr(os, "getloadavg") else 0.0
    day = datetime.now(UTC).date().isoformat()
    text = f"Measured {day} on {machine()}; load average {load:.1f}.\n\n{table(figures)}"
    print(text)
    if "--save" in sys.argv:
        save(text)


if __name__ == "__main__":
    main()
