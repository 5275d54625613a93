"""Set everything up, start the daemon, and walk through the main job on real data.

Runs on a bare Python 3.11 or newer. The daemon is left running, and a second run attaches to it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from _running import SetupError, say
from _setup import ROOT, ensure_python

INTERRUPTED = 130


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the tour takes the same options."""
    parser = argparse.ArgumentParser(description="Set everything up, start the daemon, and show the main job.")
    parser.add_argument("--once", action="store_true", help="stop the daemon at the end")
    parser.add_argument("--no-tour", action="store_true", help="only start the daemon")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where it keeps its data (default: the user's own)"
    )
    return parser.parse_args()


def main() -> int:
    """Run it all and return the exit code of the tour."""
    options = parse_arguments()
    command = [str(ROOT / "scripts" / "tour.py"), *(["--once"] if options.once else [])]
    command += ["--no-tour"] if options.no_tour else []
    command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
    try:
        python = ensure_python()
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run does it anew")
        return INTERRUPTED
    try:
        return subprocess.run([str(python), *command], check=False).returncode
    except KeyboardInterrupt:  # the tour got it too, and has said what there is to say
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
