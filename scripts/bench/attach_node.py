"""A shell in Node attaches to a daemon that runs, and calls it once; the floor is a socket written to by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from measure import Figure, main
from servers import daemon_command, folders, serving

ROUNDS = 210
SCRIPT = Path(__file__).with_name("attach.mjs")


def run() -> list[Figure]:
    """Return the figures. Needs Node, and the client built by `npm run build` in ipc/node."""
    with folders("daemon") as (folder,), serving(daemon_command(folder), folder) as daemon:
        command = [shutil.which("node") or "node", str(SCRIPT), str(folder), daemon.socket, str(ROUNDS)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    ours, floor = json.loads(answer.stdout)
    return [Figure("attach from Node and call once / bare connect and call", "ms", ours, floor, 5)]


if __name__ == "__main__":
    main(run, {})
