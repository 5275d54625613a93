"""A part of a transaction on behalf of someone else: its own change set, taken back alone, bound by his rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coder_local._admission import tokens
from coder_local._registry.kernel import Kernel
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import (
    Conflict,
    Domain,
    Error,
    Event,
    NotFound,
    Record,
    Refused,
    Rights,
    Safety,
    TimedOut,
    Transaction,
    Withheld,
    replace,
)
from coder_local.api.errors import Unauthenticated
from coder_local.testing import Sandbox, sandbox

from .items import Item, make_tables
from .items import domain as shelf

domain = Domain("desk")


@domain.table("papers")
class Paper(Record):
    """A sheet."""

    text: str


domain.standard(Paper)


@domain.event("desk.paper.read")
class PaperRead(Event):
    """A paper was read."""

    paper: str


@domain.command("desk.burn", safety=Safety.DESTRUCTIVE)
def burn(tx: Transaction, *, id: str) -> None:
    """Burn a paper."""
    tx.delete(tx.get(Paper, id))


@domain.command("desk.sign", person_only=True)
def sign(tx: Transaction) -> str:
    """Sign as a person."""
    return tx.actor


AGENT = Rights(
    actor="agent:a", workspace="w", scopes=(Safety.READ, Safety.WRITE), domains=None, owner=False, token=None
)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox(domain) as opened:
        yield opened


def history(box: Sandbox) -> list[tuple[Any, ...]]:
    sql = "SELECT change_set, workspace_id, actor, operation, json_extract(after, '$.text') FROM change ORDER BY seq"
    return box.kernel.store.writer.connection.execute(sql).fetchall()


def test_a_part_is_a_change_set_of_its_own_that_undo_takes_back_alone(box: Sandbox) -> None:
    with box.tx() as tx:
        tx.insert(Paper(text="before"))
        with tx.acting(AGENT, "desk.step") as inner:
            assert (inner.actor, inner.workspace, inner.now()) == ("agent:a", "w", tx.now())
            theirs = inner.insert(Paper(text="theirs"))
            inner.emit(PaperRead(paper=theirs.id))
        mine = tx.insert(Paper(text="after"))
    assert (theirs.origin, theirs.workspace_id, mine.origin) == ("agent:a", "w", "user")
    assert history(box) == [
        (1, "w", "agent:a", "desk.step", "theirs"),
        (2, "default", "user", "", "before"),
        (2, "default", "user", "", "after"),
    ]
    assert [said.data.get("paper") for said in box.events][:2] == [None, theirs.id]
    box.as_caller(actor="agent:a", workspace="w").undo()
    assert box.snapshot().find(Paper, theirs.id) is None
    assert box.snapshot().get(Paper, mine.id) == mine


def test_a_part_that_raises_is_taken_back_and_the_rest_stands(box: Sandbox) -> None:
    with box.tx() as tx:
        tx.insert(Paper(text="one"))
        with pytest.raises(Conflict, match="torn"), tx.acting(AGENT) as inner:
            inner.emit(PaperRead(paper=inner.insert(Paper(text="lost")).id))
            raise Conflict("torn")
        assert tx.number("papers") == 1
        with tx.acting(AGENT) as inner:
            inner.insert(Paper(text="two"))
    assert [row[4] for row in history(box)] == ["two", "one"]
    assert [paper.text for paper in box.snapshot().select(Paper)] == ["one", "two"]
    assert [said.type for said in box.events] == ["desk.paper.created"] * 2


def test_parts_lie_in_each_other(box: Sandbox) -> None:
    other = replace_actor("agent:b")
    with box.tx() as tx, tx.acting(AGENT) as outer:
        outer.insert(Paper(text="a"))
        with pytest.raises(ZeroDivisionError), outer.acting(other) as lost:
            lost.insert(Paper(text="lost"))
            raise ZeroDivisionError
        with outer.acting(other) as inner:
            inner.insert(Paper(text="b"))
        outer.insert(Paper(text="c"))
    assert [(row[2], row[4]) for row in history(box)] == [("agent:b", "b"), ("agent:a", "a"), ("agent:a", "c")]


def replace_actor(actor: str) -> Rights:
    return replace_rights(actor=actor)


def replace_rights(**changes: Any) -> Rights:
    return replace(AGENT, **changes)  # type: ignore[type-var]


def test_a_part_without_a_domain_is_taken_back_whatever_is_made_of_it_inside(box: Sandbox) -> None:
    with box.tx() as tx:
        tx.insert(Paper(text="one"))
        for way in ("raised", "caught", "turned", "in a part"):
            with pytest.raises(Withheld), tx.acting(AGENT, without="desk") as inner:
                inner.insert(Paper(text="lost"))
                if way == "raised":
                    inner.call("desk.papers.list")
                elif way == "in a part":
                    with suppress(BaseException), inner.acting(AGENT) as deep:
                        deep.call("desk.papers.list")
                with suppress(BaseException):
                    inner.call("desk.papers.list")
                if way == "turned":
                    raise Conflict("something else")
        with tx.acting(AGENT, without="shelf") as inner:
            assert inner.call("desk.papers.create", text="two")["text"] == "two"
        assert tx.call("desk.papers.list")["items"], "the rest of the transaction has it"
    assert [paper.text for paper in box.snapshot().select(Paper)] == ["one", "two"]


def test_the_whole_transaction_takes_its_parts_with_it(box: Sandbox) -> None:
    def fail() -> None:
        with box.tx() as tx:
            with tx.acting(AGENT) as inner:
                inner.insert(Paper(text="lost"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (history(box), box.events) == ([], [])


def test_what_waits_for_the_log_is_not_lost_with_a_part_that_wrote_it(box: Sandbox) -> None:
    """A history that is read inside a part writes the rows of commands before it, inside the part's savepoint."""
    writer = box.kernel.store.writer

    def first(tx: WriteScope) -> None:
        tx.insert(Paper(text="first"))

    def second(tx: WriteScope) -> None:
        with pytest.raises(ZeroDivisionError), tx.part(tx.caller) as inner:
            inner.write_log()
            raise ZeroDivisionError

    jobs = [submitted(first), submitted(second)]
    writer._commit_group(jobs)  # pyright: ignore[reportPrivateUsage]
    assert [job.error for job in jobs] == [None, None]
    assert [row[4] for row in history(box)] == ["first"]
    assert len(box.events) == 1


def submitted(work: Any) -> Any:
    from coder_local._store.writer import Job

    return Job(work, Caller(), lambda _result, _error: None)


# -- what the rights reach --------------------------------------------------------------------------------------------


def test_a_call_inside_runs_as_the_other_and_reaches_what_was_agreed_to(box: Sandbox) -> None:
    with box.tx() as tx:
        with tx.acting(AGENT) as inner:
            made = inner.call("desk.papers.create", text="x")
            assert (made["origin"], made["workspace_id"]) == ("agent:a", "w")
            with pytest.raises(Refused) as refused:
                inner.call("desk.burn", id=made["id"])
            assert refused.value.data == {"rule": "safety", "operation": "desk.burn", "safety": "destructive"}
            with pytest.raises(Refused, match="for a person"):
                inner.call("desk.sign")
        with tx.acting(replace_rights(confirmed=(Safety.DESTRUCTIVE,))) as inner:
            inner.call("desk.burn", id=made["id"])
            with pytest.raises(NotFound):
                inner.call("desk.papers.get", id=made["id"])
        with tx.acting(replace_rights(actor="user", owner=True)) as inner:
            assert inner.call("desk.sign") == "user"


def test_if_rev_and_rights_hold_inside_a_part(box: Sandbox) -> None:
    paper = box.call("desk.papers.create", text="x")
    rights = replace_rights(confirmed=(Safety.DESTRUCTIVE,))
    with box.tx() as tx, tx.acting(rights) as inner:
        with pytest.raises(Error) as stale:
            inner.call("desk.papers.update", id=paper["id"], text="y", if_rev=7)
        assert stale.value.kind == "stale"
        assert inner.call("desk.papers.update", id=paper["id"], text="y", if_rev=1)["rev"] == 2
        assert inner.rights() == rights


def test_the_rights_of_a_call_are_its_callers_and_what_it_was_admitted_for(box: Sandbox) -> None:
    with box.tx() as tx:
        mine = tx.rights()
    everything = tuple(Safety)
    assert mine == Rights(
        actor="user", workspace="default", scopes=everything, domains=None, owner=True, token=None, confirmed=()
    )
    agent = box.as_caller(actor="agent:a", owner=False, domains=frozenset({"desk"})).snapshot().rights()
    assert (agent.actor, agent.domains, agent.owner) == ("agent:a", ("desk",), False)


def test_a_revoked_token_acts_no_more(box: Sandbox) -> None:
    connection = box.kernel.store.writer.connection
    with box.tx() as tx:
        assert isinstance(tx, WriteScope)
        made = tokens.create(tx, name="a", scopes=(Safety.READ, Safety.WRITE))
    held = replace_rights(token=made.info.id)
    with box.tx() as tx, tx.acting(held) as inner:
        inner.insert(Paper(text="while it holds"))
    with box.tx() as tx:
        assert isinstance(tx, WriteScope)
        tokens.revoke(tx, made.info.id)
    with box.tx() as tx:
        with pytest.raises(Unauthenticated), tx.acting(held):
            raise AssertionError("not reached")
        tx.insert(Paper(text="goes on"))
    assert connection.execute("SELECT count(*) FROM desk_papers").fetchone() == (2,)


# -- when the transaction is lost -------------------------------------------------------------------------------------

ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " INSERT INTO shelf_items (id) SELECT x FROM n WHERE x < 0"
)


def run(kernel: Kernel, work: Any, deadline: float = 10.0) -> BaseException | None:
    answers: list[BaseException | None] = []
    kernel.store.submit(work, Caller(), lambda _, error: answers.append(error), deadline=deadline)
    return answers[0]


def test_an_interrupt_in_a_part_ends_the_whole_even_if_it_is_caught(on_disk: Kernel) -> None:
    """SQLite rolls the whole transaction back; what is written after that would commit by itself."""

    def work(tx: WriteScope) -> None:
        tx.insert(Item(title="never"))
        try:
            with tx.part(tx.caller) as inner:
                inner.connection.execute(ENDLESS)
        except Exception:
            tx.insert(Item(title="never either"))

    assert isinstance(run(on_disk, work, deadline=0.2), TimedOut)
    assert on_disk.store.write(lambda tx: tx.select(Item)) == []


@pytest.mark.alone
def test_a_loop_in_a_part_is_stopped_at_the_deadline(tmp_path: Path) -> None:
    import threading

    kernel = Kernel(tmp_path)
    kernel.take(shelf)
    kernel.open()
    make_tables(kernel)
    kernel.start(lambda function, *arguments: function(*arguments))
    answered, began = threading.Event(), threading.Event()
    errors: list[BaseException | None] = []

    def spin(tx: WriteScope) -> None:
        with tx.part(tx.caller) as inner:
            inner.insert(Item(title="never"))
            began.set()
            while True:
                pass

    def done(_: Any, error: BaseException | None) -> None:
        errors.append(error)
        answered.set()

    kernel.store.submit(spin, Caller(), done, deadline=0.05)
    assert began.wait(10)
    while not answered.wait(0.05):
        kernel.store.writer.stop_overdue()
    assert isinstance(errors[0], TimedOut)
    assert kernel.store.read(lambda scope: scope.select(Item), Caller()) == []
    assert kernel.store.close()
