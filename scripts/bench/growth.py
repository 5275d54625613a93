"""`create`, `get` and the first page of tasks at 100,000 tasks, against the same daemon at 1,000.

Both daemons run side by side; one client asks them in turn, the median of the latencies counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from load import load
from measure import Figure, interleave, main, median
from servers import Server, daemon_command, folders, frame, serving

FEW, MANY = 1_000, 100_000
BATCH = 10_000
CHAIN = 100
"""Tasks of one chain; each waits for the two before it, and some for the first."""
ROUNDS = 7


def _tasks(count: int) -> str:
    """Return tasks in the format of beads, two links and more for nearly each."""
    lines: list[str] = []
    for number in range(count):
        begin = number - number % CHAIN
        before = {place for place in (number - 1, number - 2) if place >= begin}
        if number % 5 == 0 and number > begin:
            before.add(begin)
        links = [{"issue_id": f"b-{number}", "depends_on_id": f"b-{place}", "type": "blocks"} for place in before]
        lines.append(
            json.dumps(
                {
                    "id": f"b-{number}",
                    "title": f"Task {number}: mend the hinge of the left door",
                    "status": "open",
                    "priority": number % 5,
                    "issue_type": "task",
                    "created_at": "2026-11-01T00:00:00Z",
                    "updated_at": "2026-11-01T00:00:00Z",
                    "dependencies": links,
                }
            )
        )
    return "\n".join(lines)


def _import(server: Server, count: int, text: str | None = None) -> str:
    """Import so many tasks into a new project and return its id."""
    project = str(server.call("planning.projects.create", key="BEN", name="Bench")["id"])
    answer = server.call("planning.import", format="beads", text=text or _tasks(count), project=project)
    if answer["created"] != count:
        raise RuntimeError(str(answer)[:500])
    return project


def _fill(server: Server, count: int) -> list[bytes]:
    """Import so many tasks, and return the frames of one `create`, of one first page and of many a `get`."""
    project = _import(server, min(count, BATCH))
    for first in range(BATCH, count, BATCH):
        text = _tasks(BATCH).replace('"b-', f'"c{first}-')
        server.call("planning.import", format="beads", text=text, project=project)
    page = server.call("planning.tasks.list", project=project, limit=200)["items"]
    create = frame("planning.tasks.create", {"project": project, "title": "Mend the hinge of the left door"})
    first_page = frame("planning.tasks.list", {"project": project})
    return [create, first_page, *(frame("planning.tasks.get", {"id": each["id"]}) for each in page)]


def run() -> list[Figure]:
    """Measure."""
    with (
        folders("many", "few") as (many_folder, few_folder),
        serving(daemon_command(many_folder), many_folder) as many,
        serving(daemon_command(few_folder), few_folder) as few,
    ):
        large, small = _fill(many, MANY), _fill(few, FEW)

        def figure(name: str, which: slice) -> Figure:
            def p50(server: Server, requests: Sequence[bytes]) -> float:
                return load(server, requests, clients=1, seconds=0.4).p50

            sides = interleave(lambda: p50(many, large[which]), lambda: p50(few, small[which]), ROUNDS)
            return Figure(f"{name} at {MANY:,} tasks / at {FEW:,}", "us", median(sides[0]), median(sides[1]), 1.5)

        return [
            figure("`create`", slice(0, 1)),
            figure("first page", slice(1, 2)),
            figure("`get`", slice(2, None)),
        ]


if __name__ == "__main__":
    main(run, {})
