"""The same plan of 20 steps by DBOS Transact on SQLite and by us, side by side: wall time, memory and start.

DBOS is no dependency: give the interpreter of an environment that has it, `dbos_twenty.py PYTHON`. Each step writes one
row in a table of the application. Each side is a process of its own that runs the plan so many times after a warm-up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import median
from servers import environment

HERE = Path(__file__).resolve().parent
PLANS, STEPS = 20, 20

THEIRS = """
import json, os, sqlite3, sys, time
begun = time.perf_counter()
from dbos import DBOS
folder, plans, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.sqlite", "log_level": "ERROR"})
application = sqlite3.connect(f"{folder}/app.sqlite", isolation_level=None, check_same_thread=False)
application.execute("PRAGMA journal_mode = WAL")
application.execute("PRAGMA synchronous = FULL")
application.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
application.execute("INSERT INTO item VALUES (1, '')")

@DBOS.step()
def write(text):
    application.execute("UPDATE item SET name = ? WHERE id = 1", (text,))
    return {"name": text}

@DBOS.workflow()
def plan(number):
    return [write(f"{number} {step}") for step in range(steps)]

DBOS.launch()
started = time.perf_counter() - begun
plan(-1)
begun = time.perf_counter()
for number in range(plans):
    plan(number)
taken = (time.perf_counter() - begun) / plans
import psutil
print(json.dumps({"start": started, "plan": taken, "mb": psutil.Process().memory_info().rss / 2**20}))
sys.stdout.flush()
os._exit(0)
"""

OURS = """
import asyncio, json, sys, time
begun = time.perf_counter()
folder, plans, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from pathlib import Path
import execution, psutil

async def main():
    async with execution.bench(Path(folder)) as found:
        await found.ask("planning.projects.create", key="BEN", name="Bench")
        started = time.perf_counter() - begun
        execution.CHAIN = steps
        await found.run(execution.chain(-1))
        first = time.perf_counter()
        for number in range(plans):
            await found.run(execution.chain(number))
        taken = (time.perf_counter() - first) / plans
        print(json.dumps({"start": started, "plan": taken, "mb": psutil.Process().memory_info().rss / 2**20}))

asyncio.run(main())
"""


def measure(python: str, program: str) -> dict[str, float]:
    """Run one side and return what it told."""
    with tempfile.TemporaryDirectory(prefix="coder-bench-") as folder:
        (Path(folder) / "data").mkdir(mode=0o700)
        command = [python, "-c", program, str(Path(folder) / "data"), str(PLANS), str(STEPS)]
        done = subprocess.run(command, cwd=HERE, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure both in turn, and print a table of medians."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: dbos_twenty.py PYTHON, an interpreter that has dbos and psutil")
    sides: dict[str, list[dict[str, float]]] = {"coder-local": [], "DBOS": []}
    for _ in range(3):
        sides["coder-local"].append(measure(sys.executable, OURS))
        sides["DBOS"].append(measure(sys.argv[1], THEIRS))
    print(f"| {STEPS} steps, one after the other | one plan | start | resident memory |\n|---|---|---|---|")
    for name, found in sides.items():
        middle = {key: median(each[key] for each in found) for key in ("plan", "start", "mb")}
        print(f"| {name} | {middle['plan'] * 1e3:.1f} ms | {middle['start'] * 1e3:.0f} ms | {middle['mb']:.0f} MB |")


if __name__ == "__main__":
    main()
