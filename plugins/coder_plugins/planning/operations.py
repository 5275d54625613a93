"""The operations of planning: importing its parts declares theirs; here are those that go across the parts."""

from __future__ import annotations

from .capturing import operations as capturing
from .choice import operations as choice
from .dates import impact
from .dates import operations as dates
from .exchange import operations as exchange
from .explaining import operations as explaining
from .links import operations as links
from .projects import operations as projects
from .tasks import division, places, progress
from .tasks import operations as tasks
from .times import operations as times

__all__ = [
    "capturing",
    "choice",
    "dates",
    "division",
    "exchange",
    "explaining",
    "impact",
    "links",
    "places",
    "progress",
    "projects",
    "tasks",
    "times",
]
