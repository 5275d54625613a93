"""Execution: runs of steps that a crash, a kill or a closed lid neither loses nor repeats.

What it promises:

- Nothing has an effect before an attempt is on disk that says so; a result that is on disk is never computed again.
- A command of this daemon and its result are one commit: it happened once, or not at all.
- What was begun when the daemon died is judged by its effect; where nobody can know, a person is asked.
- A program goes on when the daemon dies, and its output and its end are found again. Stopping it ends all its children.
- A run is held to its steps as they were when it started, and runs with the rights of whoever started it.
- A run that has ended never changes: a retry makes a new one, and takes over the results that still stand.

Its parts: `definitions` (steps as they are written, and whether they can run), `runs` (what is kept of a run and what
may be asked of it), `machine` (the transitions, each inside a transaction), `engine` (the loop that carries out what
the machine makes ready), `kinds` (the kinds of steps), `processes` (child programs), `logs` and `artifacts` (what they
leave behind). Under all of them are the pure functions of `rules`.
"""

from . import operations as operations  # the import declares them
from .records import domain as domain
