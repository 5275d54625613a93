"""Start the daemon, or attach to it, and walk a newcomer through the main job on real data.

`scripts/run.py` sets everything up and then runs this. Plain text where the output is no terminal.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from _tour_planning import Listener, PlanningTour
from _tour_run import RunTour
from _touring import Stage, TourError
from rich.console import Console

from coder_ipc import IpcError, spawn
from coder_ipc.client import Client
from coder_ipc.runtime import Runtime, default_data_dir, read

INTERRUPTED = 130
STOP_LIMIT_S = 20.0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Start the daemon, or attach to it, and show the main job.")
    parser.add_argument("--once", action="store_true", help="stop the daemon at the end")
    parser.add_argument("--no-tour", action="store_true", help="only start the daemon")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where it keeps its data (default: the user's own)"
    )
    return parser.parse_args()


def make_console() -> Console:
    """Return a console that writes on any terminal: what a code page lacks becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    return Console(markup=False, highlight=False, emoji=False)


def start(console: Console, data_dir: Path) -> Runtime:
    """Attach to the daemon of a data directory or start it, and say which."""
    started = time.monotonic()
    try:
        found, word = spawn.attach(data_dir), "It runs already"
    except IpcError:
        command = [sys.executable, "-m", "coder_local"]
        found, word = spawn.attach_or_spawn(data_dir, command), "Started"
    console.print(f"{word}: pid {found.pid}, data in {data_dir} ({time.monotonic() - started:.1f} s)")
    return found


def stop(console: Console, data_dir: Path, found: Runtime) -> None:
    """Stop the daemon and wait until it has ended."""
    with Client.connect(data_dir, name="tour") as client:
        client.call("daemon.stop")
    ended = spawn.wait_stopped(found, STOP_LIMIT_S)
    console.print("\nThe daemon has stopped." if ended else f"\nThe daemon (pid {found.pid}) is still stopping.")


def how_to_reach(data_dir: Path) -> str:
    """Return the one line on how to go on with the daemon that runs."""
    command = Path(sys.executable).with_name("coder-local" + (".exe" if sys.platform == "win32" else ""))
    try:
        shown = command.relative_to(Path.cwd())
    except ValueError:
        shown = command
    folder = "" if data_dir == default_data_dir() else f" --data-dir {data_dir}"
    return f"{shown}{folder} status"


def explain_failure(console: Console, error: BaseException, data_dir: Path) -> None:
    """Say what failed and how to go on."""
    cause = error.__cause__ if isinstance(error, TourError) and error.__cause__ else error
    where = f"The tour stopped at step {error}" if isinstance(error, TourError) else "The daemon could not be reached"
    console.print(f"\n{where}: {cause}", style="bold red")
    hint = getattr(cause, "hint", None)
    if hint:
        console.print(f"   {hint}")
    console.print(
        f"   What was done so far is kept, and a second run goes on from there. The daemon: {how_to_reach(data_dir)}"
    )
    console.print(f"   Its log: {data_dir / 'logs'}")


def main() -> int:
    """Run the tour and return the exit code: 0, 1 after a failure, 130 when interrupted."""
    options = parse_arguments()
    console = make_console()
    data_dir = (options.data_dir or default_data_dir()).expanduser().absolute()
    found: Runtime | None = None
    code = 0
    try:
        found = start(console, data_dir)
        if not options.no_tour:
            tour(console, data_dir)
    except (TourError, IpcError, OSError) as error:
        explain_failure(console, error, data_dir)
        code = 1
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        code = INTERRUPTED
    if found is not None:
        found = read(data_dir) or found  # the tour may have killed it, and started another one
        code = finish(console, data_dir, found, once=options.once) or code
    return code


def tour(console: Console, data_dir: Path) -> None:
    """Walk through the main job on connections of its own."""
    stage = Stage(console)
    listener = Listener(data_dir)
    try:
        with Client.connect(data_dir, name="tour") as client:
            PlanningTour(stage, client, listener).walk()
    finally:
        listener.close()
    RunTour(stage, data_dir).walk()


def finish(console: Console, data_dir: Path, found: Runtime, *, once: bool) -> int:
    """Stop the daemon, or say how to reach it; return 1 if it could not be stopped."""
    if not once:
        console.print(f"\nThe daemon goes on running. Reach it with:  {how_to_reach(data_dir)}", soft_wrap=True)
        return 0
    try:
        stop(console, data_dir, found)
    except IpcError as error:
        explain_failure(console, error, data_dir)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
