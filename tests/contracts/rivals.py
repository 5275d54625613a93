"""A domain that keeps records of the same names as another one's, and a name that TypeScript has already."""

from __future__ import annotations

from typing import Literal

from coder_local.api import Domain, Event, Record, Value

domain = Domain("rivals")

RunState = Literal["here", "there"]


@domain.table("runs")
class Run(Record):
    """Something else that runs."""

    place: RunState = "here"


@domain.table("clients")
class Client(Record):
    """Somebody who pays."""

    name: str


class Estimate(Value):
    """A guess."""

    sum: int


domain.standard(Run, operations=("list", "get"))
domain.standard(Client, operations=("list", "create"))


@domain.event("rivals.run.guessed")
class Guessed(Event):
    """Somebody guessed."""

    run: str
    estimate: Estimate
