"""Planning: what to do next, why, what it waits for, and when it will be done; without a server.

What it promises:

- A key such as `PLAN-12` names one task for ever: it is never given again, and stays when the task moves.
- `blocked` is derived each time it is asked, from open blockers, holds and ancestors; nobody sets it and forgets it.
- Links that say an order (`blocks`, `parent`) never close a ring, whichever way they are written.
- Every date is either set by a person or computed, and a computed one can be asked why (`planning.explain`).
- A forecast is exact: asked twice over the same history it gives the same digits.
- Dividing, joining, moving and finishing are each taken back by one undo.
- A plan runs only as a person approved it: any change of what it does is a new version, which nobody approved yet.

Its parts have the same two files, `records.py` (what is kept, and what must hold on every way of writing it) and
`operations.py` (what may be asked): `projects`, `tasks`, `links`, `times` and `plans`. Inside `tasks` are `finding`
(keys and ranks), `progress` (start to drop, hold, release), `places` (move, reorder), `division` (split, merge) and
`recurring`; inside `plans` are `making` (templates, checklists), `approving` (validate, approve), `running` (by the
plugin execution, if it is there) and `refining` (new versions).
Others keep nothing, and their `records.py` is what they read: `choice` (next, ready, blocked), `dates` (schedule, and
in it `forecasting` and `impact`), `explaining`, `capturing` and `exchange` (other tools' files). Under all of them are
the pure functions of `rules` and the file formats of `formats`.
"""

from . import operations as operations  # the import declares them
from .records import domain as domain
