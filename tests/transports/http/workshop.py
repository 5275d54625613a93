"""A domain for the tests of HTTP: an operation of every kind and danger."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from coder_local.api import Context, Domain, Invalid, Record, Safety, Snapshot, Title, Transaction, Value

domain = Domain("workshop")


@domain.table("parts")
class Part(Record):
    """A part that lies in a drawer."""

    title: Title
    count: int = 1


domain.standard(Part, filters=("count",), sort=("count",))


class Wish(Value):
    """What somebody would like."""

    word: str
    most: int = 1


@domain.command("workshop.parts.use")
def use(tx: Transaction, *, id: str, count: int = 1) -> Part:
    """Take some of a part."""
    part = tx.get(Part, id)
    if part.count < count:
        raise Invalid("there are not so many", field="/count")
    return tx.update(part, count=part.count - count)


@domain.query("workshop.parts.rest")
def rest(read: Snapshot, *, id: str, unit: str = "piece") -> str:
    """Say how many are left."""
    return f"{read.get(Part, id).count} {unit}"


@domain.query("workshop.find")
def find(
    read: Snapshot,
    *,
    words: list[str] | None = None,
    most: int = 3,
    exact: bool = False,
    wish: Wish | None = None,
    wishes: list[Wish] | None = None,
    free: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Say what was asked."""
    return {"words": words, "most": most, "exact": exact, "wish": wish, "wishes": wishes, "free": free}


@domain.command("workshop.burn", safety=Safety.DESTRUCTIVE)
def burn(tx: Transaction, *, what: str) -> str:
    """Lose something for good."""
    return f"burnt {what}"


@domain.command("workshop.sign", person_only=True)
def sign(tx: Transaction, *, name: str) -> str:
    """Sign, as a person."""
    return name


@domain.action("workshop.post")
async def post(ctx: Context, *, to: str) -> str:
    """Send something out."""
    return f"posted to {to}"


@domain.action("workshop.clear", safety=Safety.DESTRUCTIVE)
async def clear(ctx: Context, *, what: str) -> str:
    """Lose something by way of another operation."""
    answer: str = await ctx.call("workshop.burn", what=what)
    return answer


@domain.action("workshop.sly", safety=Safety.WRITE)
async def sly(ctx: Context, *, what: str) -> str:
    """Try to lose something without saying so."""
    answer: str = await ctx.call("workshop.burn", what=what)
    return answer


@domain.query("workshop.fail")
def fail(read: Snapshot) -> str:
    """Fail as a plugin with a bug does."""
    raise RuntimeError("secret of the stack")


stopped: list[str] = []
began = asyncio.Event()


@domain.action("workshop.wait", safety=Safety.READ)
async def wait(ctx: Context, *, name: str) -> str:
    """Wait until somebody stops it."""
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        stopped.append(name)
    return name


@domain.stream("workshop.count")
async def count(ctx: Context, *, to: int, fail_at: int | None = None, size: int = 1) -> AsyncIterator[dict[str, Any]]:
    """Count to a number."""
    for number in range(to):
        if number == fail_at:
            raise Invalid("counted too far", field="/to")
        yield {"number": number, "pad": "x" * size}


@domain.action("workshop.saw", safety=Safety.READ)
async def saw(ctx: Context, *, parts: int, break_at: int | None = None) -> str:
    """Saw a part into pieces, and say how far it is."""
    for part in range(parts):
        if part == break_at:
            raise Invalid("the saw broke", field="/break_at")
        ctx.progress(part + 1, parts, f"piece {part + 1}")
        await asyncio.sleep(0)
    return f"{parts} pieces"
