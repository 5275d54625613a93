"""Set everything up, then run all checks and tests.

Every check runs even when an earlier one failed; the summary at the end names each. Exit code 1 when any failed, 130
when interrupted. Paths and `-k` choose among the Python tests and leave out those of Node.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from _running import SetupError, say
from _setup import ROOT, ensure_node, ensure_python, find_node, venv_bin

PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "LEFT OUT"
NO_TESTS_COLLECTED = 5
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# A check that hangs must not keep the summary from being printed; each test has a shorter limit of its own.
STEP_TIMEOUT_S = 20 * 60


@dataclass(frozen=True)
class Outcome:
    """How one check ended; `note` says why it failed or was left out."""

    name: str
    word: str
    seconds: float = 0.0
    note: str = ""


class Runner:
    """Runs the checks one after the other and remembers how each ended."""

    def __init__(self, python: Path, *, node: str | None, node_fault: str) -> None:
        self.python = str(python)
        self.node = node
        self.node_fault = node_fault
        self.outcomes: list[Outcome] = []
        commands = [str(venv_bin()), os.environ.get("PATH", "")]
        self.environment = {
            **os.environ,
            "VIRTUAL_ENV": str(venv_bin().parent),
            "PATH": os.pathsep.join(commands),
            # Without these pyright downloads a Node of its own, or asks a server for newer releases.
            "PYRIGHT_PYTHON_GLOBAL_NODE": "on",
            "PYRIGHT_PYTHON_IGNORE_WARNINGS": "on",
        }
        # Would point the environment's interpreter at another installation's library.
        self.environment.pop("PYTHONHOME", None)

    def check(self, name: str, command: Sequence[str], *, folder: Path = ROOT, harmless: Sequence[int] = ()) -> int:
        """Run one command under a heading and return its exit code; codes in `harmless` do not fail it."""
        print(f"\n=== {name}", flush=True)
        started = time.monotonic()
        try:
            code = subprocess.run(
                command,
                cwd=folder,
                env=self.environment,
                check=False,
                timeout=STEP_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            ).returncode
            note = f"exit code {code}"
        except (OSError, subprocess.TimeoutExpired) as error:
            code, note = 1, str(error)
        good = code == 0 or code in harmless
        seconds = time.monotonic() - started
        self.outcomes.append(Outcome(name, PASSED if good else FAILED, seconds, "" if good else note))
        print(f"=== {name}: {self.outcomes[-1].word} in {seconds:.1f} s", flush=True)
        return code

    def begin(self, name: str, command: Sequence[str]) -> Callable[[], int]:
        """Start a command beside the checks that follow; what is returned waits for it, and takes it for a check."""
        started = time.monotonic()
        output = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed by `finish`
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

        def finish() -> int:
            try:
                code = process.wait(STEP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            seconds = time.monotonic() - started
            with output:
                output.seek(0)
                print(f"\n=== {name}\n{output.read()}", flush=True)
            self.outcomes.append(
                Outcome(name, FAILED if code else PASSED, seconds, f"exit code {code}" if code else "")
            )
            return code

        return finish

    def tool(self, name: str, *arguments: str) -> int:
        """Run a module of the environment as a check."""
        return self.check(name, [self.python, "-m", *arguments])

    def leave_out(self, name: str, reason: str, *, fails: bool = False) -> None:
        """Say loudly that a check did not run."""
        print(f"\n!!! {name} LEFT OUT: {reason}", flush=True)
        self.outcomes.append(Outcome(name, FAILED if fails else LEFT_OUT, note=f"left out: {reason}"))

    def with_node(self, name: str, run: Callable[[], object]) -> None:
        """Run a check that needs Node; without Node leave it out, which under CI=true is a failure."""
        if self.node is not None:
            run()
        else:
            self.leave_out(name, self.node_fault, fails=is_ci())


def is_ci() -> bool:
    """Tell whether leaving something out counts as a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def check_sources(runner: Runner, *, fast: bool) -> None:
    """Run everything that reads the code without running it."""
    runner.tool("ruff check", "ruff", "check")
    runner.tool("ruff format", "ruff", "format", "--check")
    if fast:
        runner.leave_out("mypy, pyright", "--fast was given")
    else:
        runner.tool("mypy", "mypy")
        runner.with_node("pyright", lambda: runner.tool("pyright", "pyright", "--pythonpath", runner.python))
    lint_imports = shutil.which("lint-imports", path=str(venv_bin())) or "lint-imports"
    runner.check("import contracts", [lint_imports, "--no-logo"])
    runner.check("sizes", [runner.python, str(ROOT / "scripts" / "sizes.py")])
    generate = ROOT / "scripts" / "generate.py"
    if generate.exists():
        runner.check("contracts are fresh", [runner.python, str(generate), "--check"])


def check_python_tests(runner: Runner, *, fast: bool, selection: Sequence[str]) -> None:
    """Run pytest twice, on two processes each: first what runs inside of one, then the tests marked alone."""
    pytest = [runner.python, "-m", "pytest", "-ra", "--durations=15", "-n", "2", "--dist=worksteal", *selection]
    codes = [runner.check("pytest", [*pytest, "-m", "not alone"], harmless=[NO_TESTS_COLLECTED])]
    if fast:
        runner.leave_out("pytest, tests marked alone", "--fast was given")
    else:
        codes.append(
            runner.check("pytest, tests marked alone", [*pytest, "-m", "alone"], harmless=[NO_TESTS_COLLECTED])
        )
    if all(code == NO_TESTS_COLLECTED for code in codes):
        runner.outcomes.append(Outcome("pytest", FAILED, note="no test was selected"))


def make_frozen_build(runner: Runner, *, fast: bool, selection: Sequence[str]) -> Callable[[], object]:
    """Begin the one-folder build, which some of the tests marked alone run, and hold it to its size and its start."""
    reason = "--fast was given" if fast else "Python tests were selected" if selection else ""
    if reason:
        return lambda: runner.leave_out("one-folder build", reason)
    return runner.begin("one-folder build", [runner.python, str(ROOT / "scripts" / "build.py"), "--check"])


def install_node_packages(runner: Runner) -> None:
    """Install what the tests of Node need, and those of Python that compile TypeScript; a failure is a check's."""
    try:
        ensure_node()
    except SetupError as error:
        runner.node, runner.node_fault = None, "npm could not install the packages"
        print(error, flush=True)
        runner.outcomes.append(Outcome("Node packages", FAILED, note=runner.node_fault))


def check_node_tests(runner: Runner) -> None:
    """Run the tests of the TypeScript client, and of the example shell's page, against the real daemon."""
    npm = shutil.which("npm") or "npm"
    runner.check("Node tests", [npm, "test"], folder=ROOT / "ipc" / "node")
    if any(shutil.which(name) for name in CHROMIUM):  # on what the client's tests have built
        runner.check("example shell in Chromium", [npm, "test"], folder=ROOT / "ipc" / "electron-example")
    else:
        runner.leave_out("example shell in Chromium", f"none of {', '.join(CHROMIUM)} is there", fails=is_ci())


def summarise(outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print one line for each check and return the exit code."""
    print("\n=== summary")
    for outcome in outcomes:
        note = f"  ({outcome.note})" if outcome.note else ""
        print(f"  {outcome.word:<8}  {outcome.seconds:>6.1f} s  {outcome.name}{note}")
    words = [outcome.word for outcome in outcomes]
    counts = f"{words.count(PASSED)} passed, {words.count(FAILED)} failed, {words.count(LEFT_OUT)} skipped"
    print(f"in {seconds:.0f} s\nchecks: {counts}", flush=True)
    return 1 if FAILED in words else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Set everything up, then run all checks and tests.")
    parser.add_argument(
        "--fast", action="store_true", help="no type checkers, no one-folder build, no tests marked alone"
    )
    parser.add_argument("-k", metavar="EXPRESSION", help="only Python tests whose names match, as pytest's -k")
    parser.add_argument("paths", nargs="*", help="only the Python tests in these files or folders")
    return parser.parse_args()


def main() -> int:
    """Run it all."""
    options = parse_arguments()
    started = time.monotonic()
    selection = [*(["-k", options.k] if options.k else []), *options.paths]
    try:
        python = ensure_python()
        node, node_fault = find_node()
        runner = Runner(python, node=node, node_fault=node_fault)
        if node is not None:
            install_node_packages(runner)
        built = make_frozen_build(runner, fast=options.fast, selection=selection)
        check_sources(runner, fast=options.fast)
        built()
        check_python_tests(runner, fast=options.fast, selection=selection)
        if selection:
            runner.leave_out("Node tests", "Python tests were selected")
        else:
            runner.with_node("Node tests", lambda: check_node_tests(runner))
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return summarise(runner.outcomes, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
