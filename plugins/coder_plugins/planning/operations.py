"""The operations of planning: importing its parts declares theirs; here are those that belong to no part."""

from __future__ import annotations

from .links import operations as links
from .projects import operations as projects
from .tasks import operations as tasks
from .times import operations as times

__all__ = ["links", "projects", "tasks", "times"]
