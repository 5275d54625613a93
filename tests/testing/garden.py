"""A domain that uses every kind of declaration, for the tests of the testing kit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from coder_local.api import (
    Conflict,
    Context,
    Domain,
    Event,
    Instant,
    Invalid,
    Record,
    Safety,
    Settings,
    Snapshot,
    Transaction,
)

domain = Domain("garden", version="1.0.0")


@domain.settings
class GardenSettings(Settings):
    """How the garden is kept."""

    most: int = 3
    """Plants at most."""


@domain.table("plants", unique=[("name",)])
class Plant(Record):
    """A plant."""

    name: str
    height: int = 0


domain.standard(Plant, filters=("height",))


@domain.event("garden.plant.grew")
class PlantGrew(Event):
    """A plant grew."""

    plant: str


@domain.event("garden.plant.sang")
class PlantSang(Event):
    """A plant sang."""

    plant: str


@domain.rule(Plant)
def not_too_many(tx: Transaction, before: Plant | None, after: Plant) -> None:
    """There is room for only so many."""
    if before is None and len(tx.select(Plant)) >= tx.settings(GardenSettings).most:
        raise Conflict("the garden is full")


@domain.query("garden.tallest")
def tallest(read: Snapshot) -> Plant | None:
    """Return the tallest plant."""
    found = read.select(Plant, order="height DESC", limit=1)
    return found[0] if found else None


@domain.query("garden.time")
def time(read: Snapshot) -> Instant:
    """Return the time."""
    return read.now()


@domain.command("garden.grow", emits=PlantGrew)
def grow(tx: Transaction, *, id: str, by: int = 1) -> Plant:
    """Let a plant grow."""
    if by < 1:
        raise Invalid("it does not shrink", field="/by")
    plant = tx.get(Plant, id)
    plant = tx.update(plant, height=plant.height + by)
    tx.emit(PlantGrew(plant=id))
    return plant


@domain.command("garden.sing")
def sing(tx: Transaction, *, id: str) -> None:
    """Say an event that the declaration does not name."""
    tx.emit(PlantSang(plant=id))


@domain.command("garden.lie")
def lie(tx: Transaction) -> int:
    """Answer what the return type does not say."""
    answer: Any = "one"
    return answer


@domain.command("garden.fail")
def fail(tx: Transaction) -> None:
    """Write something, then break."""
    tx.insert(Plant(name="weed"))
    raise ZeroDivisionError("a fault of the plugin")


@domain.command("garden.clear", safety=Safety.DESTRUCTIVE, person_only=True)
def clear(tx: Transaction) -> int:
    """Take all plants away."""
    return len([tx.delete(plant) for plant in tx.select(Plant)])


@domain.action("garden.order", safety=Safety.EXTERNAL)
async def order(ctx: Context, *, name: str) -> dict[str, Any]:
    """Order a plant and put it in."""
    ctx.progress(0, 1, "asking")
    await asyncio.sleep(0)
    ctx.progress(1, 1)
    made: dict[str, Any] = await ctx.call("garden.plants.create", name=name)
    return made


@domain.stream("garden.watch")
async def watch(ctx: Context, *, times: int = 0) -> AsyncIterator[int]:
    """Count up to `times`, without end when it is 0."""
    number = 0
    while times == 0 or number < times:
        number += 1
        yield number
        await asyncio.sleep(0)
    if times == 13:
        raise Conflict("that is enough")
