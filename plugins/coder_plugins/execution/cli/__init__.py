"""The commands `run` and `runs`: plans from files, followed at a terminal, and what can be done with runs.

Loaded by `coder-local` without the plugin: this module names the commands and imports nothing but that, and those
beside it import only `coder_local.cli.api`, `coder_ipc`, the standard library, and rich and yaml where they are needed.
"""

from __future__ import annotations

from coder_local.cli.api import Shipped

COMMANDS = {
    "run": Shipped("run the steps of a plan file, and follow them to their end", "running"),
    "runs list": Shipped("list runs, the newest first", "runs"),
    "runs show": Shipped("show the steps of a run, with times and reasons", "runs"),
    "runs follow": Shipped("follow a run to its end", "runs"),
    "runs record": Shipped("show each attempt of a run: intent, effect, result, duration, output", "runs"),
    "runs retry": Shipped("make a new run from one that has ended, and keep what still stands", "again"),
    "runs rewind": Shipped("make a new run that goes on from an earlier step", "again"),
    "runs cancel": Shipped("stop a run and all its programs", "deciding"),
    "runs pause": Shipped("have a run begin no more steps", "deciding"),
    "runs resume": Shipped("go on with a run that is paused, or that needs a decision", "deciding"),
    "runs approve": Shipped("approve what a run waits for", "deciding"),
    "runs reject": Shipped("reject what a run waits for", "deciding"),
}
