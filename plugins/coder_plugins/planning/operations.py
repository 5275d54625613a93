"""The operations of planning: importing its parts declares theirs; here are those that go across the parts."""

from __future__ import annotations

from .capturing import operations as capturing
from .choice import operations as choice
from .dates import operations as dates
from .dates.forecasting import operations as forecasting
from .dates.impact import operations as impact
from .exchange import operations as exchange
from .explaining import operations as explaining
from .links import operations as links
from .plans import operations as plans
from .plans.approving import operations as approving
from .plans.making import operations as making
from .plans.refining import operations as refining
from .plans.running import operations as running
from .projects import operations as projects
from .tasks import operations as tasks
from .tasks.division import operations as division
from .tasks.finding import operations as finding
from .tasks.places import operations as places
from .tasks.progress import operations as progress
from .tasks.recurring import operations as recurring
from .times import operations as times

__all__ = [
    "approving",
    "capturing",
    "choice",
    "dates",
    "division",
    "exchange",
    "explaining",
    "finding",
    "forecasting",
    "impact",
    "links",
    "making",
    "places",
    "plans",
    "progress",
    "projects",
    "recurring",
    "refining",
    "running",
    "tasks",
    "times",
]
